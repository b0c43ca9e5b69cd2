"""Imports go one way, as the docstring of `actors` draws it. The core is pure."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import actors

ROOT = Path(actors.__file__).resolve().parent.parent
ACTORS = {"consumer", "counter", "dispatcher", "client", "embedded_nsqd"}

# The modules of the standard library that do no I/O and do not depend on the state of the machine.
PURE = {
    "array",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "contextlib",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "struct",
    "sys",
    "types",
    "typing",
    "zlib",
}
CORE_LIBRARIES = {"msgspec", "numpy", "pyroaring"}
PURE_OF_SYS = {"byteorder", "maxsize"}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}
LEANS_ON_ADDRESSES = {"hash", "id"}  # their results differ from run to run
STREAMS = tuple(f"actors.supervision.{name}" for name in ("printable", "standard_streams", "command_line"))
IMPURE_ATTRIBUTES = {"now", "utcnow", "today", "urandom"}


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@functools.cache
def pure_files(root=ROOT):
    """The files that have to be pure: the core with all its folders, and the restart rules in any folder."""
    core = (root / "actors" / "core").rglob("*.py")
    rules = [path for path in (root / "actors").rglob("*.py") if "Restarts" in classes_of(path)]
    return sorted({*core, *rules})


def classes_of(path):
    """The names of the classes at the top of a file."""
    return {node.name for node in tree_of(path).body if isinstance(node, ast.ClassDef)}


def imported(path, root=ROOT):
    """The full names of the modules that a file imports, at the top or inside functions."""
    package = path.relative_to(root).parent.parts
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            names.add(".".join(base))
            names |= {".".join([*base, alias.name]) for alias in node.names}
    return names


def unit_of(name):
    """The module or package directly under `actors` that a full name belongs to, or None."""
    parts = name.split(".")
    if parts[0] != "actors" or len(parts) < 2:
        return None
    folder = ROOT / "actors" / parts[1]
    return parts[1] if folder.is_dir() or folder.with_suffix(".py").is_file() else None


# This file names missing files on purpose.
NAMES_WHAT_IS_NOT_THERE = {"test_guarantees.py"}


@functools.cache
def units():
    """Each module or package directly under `actors`, and the others that it imports."""
    graph = {}
    for path in sorted((ROOT / "actors").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        unit = unit_of(name)
        if unit is None or unit == "__init__":
            continue
        found = {unit_of(one) for one in imported(path)}
        graph.setdefault(unit, set()).update(found - {None, unit, "__init__"})
    return graph


@functools.cache
def layers():
    """The height of each unit in the drawing of `actors`' docstring. `core` has height 0."""
    drawing = re.search(r"\n    (core <-.*?)\n\n", actors.__doc__, re.DOTALL).group(1)
    found = {}
    for height, layer in enumerate(drawing.split("<-")):
        for name in re.findall(r"[\w.]+", layer):
            found[name.removesuffix(".py")] = height
    return found


def reached_from(unit, graph):
    """All units that `unit` imports, directly or through other units."""
    seen, left = set(), [unit]
    while left:
        for name in graph.get(left.pop(), ()):
            if name not in seen:
                seen.add(name)
                left.append(name)
    return seen


def test_the_drawing_is_read():
    order = layers()
    assert order["core"] == 0
    assert order["config"] < order["supervision"] < order["consumer"] < order["cli"] < order["supervisor"]


@pytest.mark.parametrize("unit", sorted(layers().keys() & units().keys()))
def test_a_unit_imports_nothing_from_above_it_in_the_drawing(unit):
    order = layers()
    above = {name for name in reached_from(unit, units()) if order.get(name, 0) > order[unit]}
    assert not above, f"actors.{unit} reaches {sorted(above)}, which the drawing has above it"


def test_what_the_drawing_names_is_there():
    missing = layers().keys() - units().keys() - {"supervisor"}
    assert not missing


def test_no_import_goes_round_in_a_circle():
    graph = units()
    circles = [unit for unit in graph if unit in reached_from(unit, graph)]
    assert not circles


@pytest.mark.parametrize("actor", sorted(ACTORS))
def test_actors_never_import_one_another(actor):
    others = ACTORS - {actor}
    assert not reached_from(actor, units()) & others


def test_a_file_that_the_code_names_is_there():
    files = [
        path for folder in ("actors", "producer", "tests", "bench") for path in (ROOT / folder).rglob("*.py")
    ]
    known = {f"/{path.relative_to(ROOT)}" for path in [*files, *ROOT.glob("*.py")]}
    named = {
        (str(path.relative_to(ROOT)), name)
        for path in files
        for name in re.findall(r"`([a-z_/]+\.py)`", path.read_text())
        if path.name not in NAMES_WHAT_IS_NOT_THERE
    }
    assert len(named) > 30
    assert not {one for one in named if not any(file.endswith(f"/{one[1]}") for file in known)}


CORE_FOLDERS = {"client", "consumer", "counter", "dispatcher"}


def imports_of_folder(folder):
    """The modules of `actors` that the files below a folder import, by their full names."""
    files = sorted((ROOT / "actors" / folder).rglob("*.py"))
    assert files
    return {name for path in files for name in imported(path) if name.split(".")[0] == "actors"}


def test_supervision_is_a_library_that_imports_nothing_of_the_rest():
    strangers = {one for one in imports_of_folder("supervision") if unit_of(one) not in (None, "supervision")}
    assert not strangers


def test_the_tests_of_supervision_use_it_alone():
    tests = sorted((ROOT / "tests" / "supervision").glob("test_*.py"))
    lines = [line for file in tests for line in file.read_text().splitlines()]
    assert len(tests) >= 8
    imported = [line for line in lines if re.match(r"\s*(from|import) actors", line)]
    assert imported
    assert [line for line in imported if not line.strip().startswith("from actors.supervision")] == []


@pytest.mark.parametrize("folder", sorted(CORE_FOLDERS))
def test_the_folders_of_the_core_never_import_one_another(folder):
    found = {name.split(".")[2] for name in imports_of_folder(f"core/{folder}") if name.count(".") >= 2}
    assert not found & (CORE_FOLDERS - {folder})


def impurities(path, root=ROOT):
    """The imports, calls and attributes in a file that a pure file must not have."""
    pure = {".".join(one.relative_to(root).with_suffix("").parts) for one in pure_files(root)}
    packages = {one.removesuffix(".__init__") for one in pure}
    found = []
    for name in sorted(imported(path, root)):
        top, parent = name.split(".")[0], name.rpartition(".")[0]
        own = top == "actors" and (name in packages or parent in packages)
        if not own and top not in PURE | CORE_LIBRARIES:
            found.append(f"imports {name}")
    for node in ast.walk(tree_of(path)):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS | LEANS_ON_ADDRESSES:
                found.append(f"line {node.lineno}: {name}()")
            case ast.Attribute(value=ast.Name(id="sys"), attr=name) if name not in PURE_OF_SYS:
                found.append(f"line {node.lineno}: sys.{name}")
            case ast.Attribute(attr=name) if name in IMPURE_ATTRIBUTES:
                found.append(f"line {node.lineno}: .{name}")
    return found


@pytest.mark.parametrize("path", pure_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_and_the_restart_rules_are_pure(path):
    assert impurities(path) == []


def test_the_restart_rules_are_among_what_has_to_be_pure():
    assert any("Restarts" in classes_of(path) for path in pure_files())


@pytest.mark.parametrize(
    "place", ["core/rules.py", "core/consumer/rules.py", "core/a/b/c.py", "supervision/restarts.py"]
)
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import time", "imports time"),
        ("from time import monotonic", "imports time"),
        ("def f():\n    import os.path as p", "imports os.path"),
        ("from actors import config", "imports actors.config"),
        ("from actors.config import load", "imports actors.config"),
        ("import logging", "imports logging"),
        ("x = open('file')", "line 2: open()"),
        ("x = id(object())", "line 2: id()"),
        ("import datetime\nx = datetime.datetime.now()", "imports datetime"),
        ("import sys\nx = sys.argv", "line 3: sys.argv"),
    ],
)
def test_an_impure_line_is_found_wherever_it_stands(tmp_path, place, line, expected):
    file = tmp_path / "actors" / place
    file.parent.mkdir(parents=True)
    file.write_text(f"class Restarts: pass\n{line}\n")
    assert file in pure_files(tmp_path)
    assert expected in impurities(file, tmp_path)


def test_a_pure_line_passes_in_every_folder(tmp_path):
    for place in ("__init__", "columns", "consumer/__init__", "consumer/rules"):
        file = tmp_path / "actors" / "core" / f"{place}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            "import math\nfrom actors.core import columns\nfrom actors.core.columns import count\n"
        )
    assert [impurities(path, tmp_path) for path in pure_files(tmp_path)] == [[]] * 4


def test_the_producer_shares_what_is_said_of_the_service_and_none_of_its_parts():
    shared = {"config", "sources", "system", "version"}  # and what is written to a terminal
    for path in sorted((ROOT / "producer").glob("*.py")):
        names = {name for name in imported(path) if not name.startswith(STREAMS)}
        units_used = {unit_of(name) for name in names} - {None}
        assert units_used <= shared, f"{path.name} imports {sorted(units_used)}"


def test_the_supervisor_does_without_what_only_its_children_need():
    """Without these modules it starts in half the time, and none of them can break it."""
    script = "import sys, actors.service.lifecycle; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert not {"numpy", "pyroaring", "sqlite3", "nsq"} & set(run.stdout.split())
