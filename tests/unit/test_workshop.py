"""The tools that catch mistakes are set as CONTRIBUTING.md says, and no file is left out of their checks."""

import configparser
import re
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
TYPED = ("supervisor.py", "actors", "producer", "bench", "examples", "typings", "tools")
IGNORES_MAX = 10
_WITH_REASON = re.compile(r"# type: ignore\[[a-z-]+(, [a-z-]+)*\]  # \w.*")


def lines_with(pattern: str, *places: str) -> list[str]:
    """The lines of the Python files in `places` that match the pattern, as "file:line: text"."""
    found = []
    for place in places:
        path = ROOT / place
        for file in [path] if path.is_file() else sorted([*path.rglob("*.py"), *path.rglob("*.pyi")]):
            name, lines = file.relative_to(ROOT), file.read_text().splitlines()
            found += [f"{name}:{at}: {line}" for at, line in enumerate(lines, 1) if re.search(pattern, line)]
    return found


def settings_of(tool: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][tool]


def pins() -> dict[str, str]:
    """The version of each library in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def requirements() -> list[Requirement]:
    """The requirements in setup.cfg with all extras. Lines that refer to other extras are left out."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"].splitlines()
    for extra in setup["options.extras_require"].values():
        lines += extra.splitlines()
    return [Requirement(line) for line in lines if line.strip() and "[" not in line]


def test_types_are_ignored_rarely_and_each_time_with_code_and_reason():
    ignores = lines_with(r"#\s*type:\s*ignore", *TYPED)
    assert [one for one in ignores if not _WITH_REASON.search(one)] == []
    assert len(ignores) <= IGNORES_MAX, "\n".join(ignores)


def test_no_file_is_left_out_of_the_checks():
    assert lines_with(r"#\s*(mypy|ruff|flake8|pylint):", *TYPED) == []
    assert lines_with(r"#\s*fmt:\s*(off|skip)", *TYPED, "tests") == []
    assert lines_with(r"\bno_type_check\b", *TYPED) == []


def test_types_are_strict_and_nothing_is_switched_off():
    """All settings are listed here, so that nobody adds one without changing this test."""
    assert settings_of("mypy") == {
        "strict": True,
        "files": ["supervisor.py", "actors", "producer", "bench", "examples"],
        "mypy_path": "typings",
        "python_version": "3.11",
        "enable_error_code": [
            "ignore-without-code",
            "redundant-expr",
            "possibly-undefined",
            "unused-awaitable",
        ],
    }


def test_the_linter_looks_for_mistakes_in_every_file():
    settings = settings_of("ruff")
    assert set(settings) == {"line-length", "target-version", "lint"}
    lint = settings["lint"]
    assert set(lint) == {"select", "ignore", "mccabe", "per-file-ignores"}
    assert {"B", "BLE", "E", "F", "PGH", "PL", "RUF", "W"} <= set(lint["select"])
    ignored = [*lint["ignore"], *(code for codes in lint["per-file-ignores"].values() for code in codes)]
    assert [code for code in ignored if code.startswith(("E", "F", "PGH", "W")) and code != "ERA"] == []


def test_the_tools_have_no_second_file_of_settings():
    names = ("mypy.ini", ".mypy.ini", "ruff.toml", ".ruff.toml", "pytest.ini", ".pytest.ini", "tox.ini")
    hidden = (".git", ".venv", ".pythons")
    files = [path for name in names for path in ROOT.rglob(name)]
    assert [path for path in files if path.relative_to(ROOT).parts[0] not in hidden] == []


def test_every_requirement_has_a_version_in_the_constraints_that_it_allows():
    found = pins()
    wrong = [
        f"{one}: {found.get(canonicalize_name(one.name), 'no version')}"
        for one in requirements()
        if not one.specifier.contains(found.get(canonicalize_name(one.name), "0"), prereleases=True)
    ]
    assert wrong == []


def test_a_requirement_is_a_range_and_no_version():
    assert [str(one) for one in requirements() if re.search("===?", str(one.specifier))] == []


def test_the_newest_formatting_commit_is_left_out_of_blame():
    lines = (ROOT / ".git-blame-ignore-revs").read_text().splitlines()
    commits = [line for line in lines if line and not line.startswith("#")]
    assert commits
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in commits)
