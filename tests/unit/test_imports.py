"""Imports go one way, as `actors` draws it in its docstring; the core is pure."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import actors

ROOT = Path(actors.__file__).resolve().parent.parent
CORE = sorted((ROOT / "actors" / "core").glob("*.py"))
ACTORS = {"consumer", "counter", "dispatcher", "services"}

# The standard library's parts that neither touch the world nor depend on its state.
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
IMPURE_ATTRIBUTES = {"now", "utcnow", "today", "urandom"}


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(path):
    """The modules that a file imports, by their full names, wherever in it the import stands."""
    package = path.relative_to(ROOT).parent.parts
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
    """The module or package right under `actors` that a full name belongs to, or None."""
    parts = name.split(".")
    if parts[0] != "actors" or len(parts) < 2:
        return None
    folder = ROOT / "actors" / parts[1]
    return parts[1] if folder.is_dir() or folder.with_suffix(".py").is_file() else None


@functools.cache
def units():
    """Each module or package right under `actors`, and which of the others it imports."""
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
    """The order that the docstring of `actors` draws: each named unit, and how high it stands."""
    drawing = re.search(r"\n    (core <-.*?)\n\n", actors.__doc__, re.DOTALL).group(1)
    found = {}
    for height, layer in enumerate(drawing.split("<-")):
        for name in re.findall(r"[\w.]+", layer):
            found[name.removesuffix(".py")] = height
    return found


def reached_from(unit, graph):
    """All units that importing one imports, with those in between."""
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
    assert order["config"] < order["behaviour"] < order["consumer"] < order["supervisor"]


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


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_a_module_of_the_core_imports_pure_things_only(path):
    for name in imported(path):
        top = name.split(".")[0]
        own = name == "actors.core" or name.startswith("actors.core.")
        assert own or top in PURE | CORE_LIBRARIES, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_a_module_of_the_core_touches_no_file_no_clock_and_no_screen(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in IMPURE_CALLS, f"{path.name}:{node.lineno} {node.func.id}()"
        if isinstance(node, ast.Attribute):
            assert node.attr not in IMPURE_ATTRIBUTES, f"{path.name}:{node.lineno} .{node.attr}"
            if isinstance(node.value, ast.Name) and node.value.id == "sys":
                assert node.attr in PURE_OF_SYS, f"{path.name}:{node.lineno} sys.{node.attr}"


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_nothing_that_the_core_decides_leans_on_hash_or_id(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"hash", "id"}, f"{path.name}:{node.lineno} {node.func.id}()"


def test_the_producer_shares_the_settings_and_the_run_file_and_nothing_else():
    for path in sorted((ROOT / "producer").glob("*.py")):
        units_used = {unit_of(name) for name in imported(path)} - {None}
        assert units_used <= {"config", "runfile"}, f"{path.name} imports {sorted(units_used)}"


def test_the_check_notices_an_impure_import(tmp_path):
    """The checker is checked: each way to write an import is seen."""
    package = ROOT / "actors" / "core"
    text = (
        "import os.path as p\nfrom time import time\nfrom ..config import load\n"
        "def f():\n    from .. import store\n"
    )
    nodes = tmp_path / "impure.py"
    nodes.write_text(text)

    class There(type(nodes)):
        """A path that claims to be in the core."""

        def relative_to(self, *_):
            return Path("actors/core/impure.py")

    names = imported(There(nodes))
    assert {"os.path", "time", "actors.config", "actors.store"} <= names
    assert package.is_dir()


def test_the_supervisor_does_without_what_only_its_children_need():
    """It starts in half the time, and nothing of theirs can break it."""
    script = "import sys, actors.service; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert not {"numpy", "pyroaring", "sqlite3", "nsq"} & set(run.stdout.split())
