"""Runs the unit tests and the simulation on every supported Python that is on this machine.

    make test-pythons [ARGS="tests/unit"]

Looks for python3.11 to python3.14 on PATH and among pyenv's versions. Each gets its own environment in
.pythons/, with the versions in constraints.txt. Fails if the tests fail on a Python, or if none is found.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
TESTS = ("tests/unit", "tests/simulation")


def find(version: str) -> Path | None:
    """The interpreter of a version such as "3.12"; None if no interpreter of it runs here."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    on_path = shutil.which(name)
    candidates = [Path(on_path)] if on_path else []
    for candidate in [*candidates, *sorted(pyenv.glob(f"versions/{version}.*/bin/{name}"), reverse=True)]:
        # PATH has a shim of pyenv for every version. The shim fails for a version that is not chosen.
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def environment(version: str, interpreter: Path) -> Path:
    """The Python of an environment with playtally and the libraries of its tests. Makes it if necessary."""
    folder = ROOT / ".pythons" / version
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([interpreter, "-m", "venv", folder], check=True)
    install: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "-c", "constraints.txt", "-e", ".[test]"], cwd=ROOT, check=True)
    return python


def main() -> int:
    """Run the tests on each Python. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("arguments", nargs="*", default=TESTS, help="for pytest (default: %(default)s)")
    options, more = parser.parse_known_args()
    results: dict[str, str] = {}
    failed = False
    for version in SUPPORTED:
        interpreter = find(version)
        if interpreter is None:
            results[version] = "not on this machine"
            continue
        python = environment(version, interpreter)
        command = [python, "-m", "pytest", "-n", "auto", "--maxprocesses", "4", *options.arguments, *more]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        results[version] = "passed" if code == 0 else f"failed (pytest's exit code {code})"
        failed |= code != 0
    for version, result in results.items():
        print(f"Python {version}: {result}")
    return 1 if failed or "passed" not in results.values() else 0


if __name__ == "__main__":
    sys.exit(main())
