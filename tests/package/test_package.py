"""The wheel and the source distribution, installed as users install them, and run from a folder of their own.

Needs setuptools 77 or newer, and a package index for what pip fetches. Without an index those tests are
skipped with the reason; with CI=true they fail.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from actors import config
from actors.system import runfile
from actors.system.installation import ROOT
from actors.version import VERSION
from tests.support.needed import lacking
from tests.support.patience import wait_until
from tests.support.services import ANY_PORTS

TIMEOUT_S = 600  # of one process: pip may have to fetch and unpack, which takes time on a slow machine
pytestmark = pytest.mark.timeout(2 * TIMEOUT_S)
NAME = f"playtally-{VERSION}"
PAGES = {
    f"actors/{folder}/page/{name}"
    for folder in ("client", "service")
    for name in ("icon.svg", "index.html", "page.css", "page.js")
}
PAGES |= {
    f"actors/client/page/{name}"
    for name in ("economy.css", "economy.js", "lists.js", "stream.js", "strip.js", "words.js", "worker.js")
}
PAGES |= {
    f"actors/service/page/{name}.js"
    for name in ("actions", "charts", "figures", "spreads", "stream", "tree", "words")
}
PAGES |= {f"actors/service/page/vendor/uPlot.{name}" for name in ("LICENSE", "iife.min.js", "min.css")}
PAGES |= {f"actors/system/page/session.{kind}" for kind in ("html", "css")}
# Modules with all of these names are in the working directory. None may be taken for playtally's module.
OTHERS = ("supervisor.py", "actors/__init__.py", "producer/__init__.py", "tornado/__init__.py")


def run(*words, cwd=None):
    """Run a process to its end. Nothing of this checkout is on its path."""
    return subprocess.run(
        words, capture_output=True, text=True, cwd=cwd, env=environment(), timeout=TIMEOUT_S
    )


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def pip(python: Path, *words) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    return run(*command, *words)


def make_environment(folder: Path, *, with_libraries: bool) -> Path:
    """An empty environment, or one with the libraries of this one. Returns its folder of commands."""
    run(sys.executable, "-m", "venv", "--without-pip", folder).check_returncode()
    if with_libraries:
        site_packages(folder / "bin").joinpath("libraries.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin"


def site_packages(commands: Path) -> Path:
    return next(commands.parent.glob("lib/python3.*/site-packages"))


def build(folder: Path, umask: int = 0o022) -> dict[str, str]:
    """Build a copy of the checkout. Returns the hash of each built file by name."""
    result = subprocess.run(
        [sys.executable, "tools/build.py"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        umask=umask,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    hashes, names = zip(*(line.split("  ") for line in result.stdout.splitlines()), strict=True)
    return dict(zip(names, hashes, strict=True))


def copy_checkout(folder: Path) -> Path:
    """Copy the checkout without .git and the remains of builds and tests, like an unpacked archive."""
    left_behind = (
        ".git",
        ".venv",
        ".pythons",
        ".*_cache",
        ".hypothesis",
        "__pycache__",
        "*.egg-info",
        "state",
    )
    ignored = shutil.ignore_patterns(*left_behind, "build", "dist")
    return Path(shutil.copytree(ROOT, folder, symlinks=True, ignore=ignored))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with wheel and sdist."""
    folder = copy_checkout(tmp_path_factory.mktemp("built") / "checkout")
    build(folder)
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    return built / f"{NAME}-py3-none-any.whl"


@pytest.fixture(scope="module")
def sdist(built) -> Path:
    return built / f"{NAME}.tar.gz"


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    """A folder with PyPI's `supervisor`. Fetching it shows that an index can be reached."""
    folder = tmp_path_factory.mktemp("index")
    fetched = run(
        *(
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "download",
            "--no-deps",
            "--retries",
            "1",
        ),
        *("--dest", folder, "supervisor"),
    )
    if fetched.returncode:
        lacking(f"no package index can be reached: {fetched.stderr.strip().splitlines()[-1]}")
    return folder


@pytest.fixture(scope="module")
def commands(wheel, tmp_path_factory) -> Path:
    """The folder of commands of an environment with the wheel installed."""
    found = make_environment(tmp_path_factory.mktemp("installed") / "environment", with_libraries=True)
    installed = pip(found / "python", "install", "--no-deps", wheel)
    assert installed.returncode == 0, installed.stderr
    return found


@pytest.fixture
def folder(tmp_path) -> Path:
    """A working directory with other modules that have the names of playtally's modules and libraries."""
    path = tmp_path / "work"
    for name in OTHERS:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("raise SystemExit('this is another of that name')\n")
    return path


def sets(*settings: str) -> list[str]:
    return [word for one in settings for word in ("--set", one)]


# What is built


def test_built_twice_the_bytes_are_the_same(built, tmp_path):
    other = copy_checkout(tmp_path / "another name")
    for path in [*other.rglob("*.py"), *other.rglob("*.toml"), *other.rglob("*.cfg")]:
        path.chmod(0o600)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    left_behind = other / "build" / "lib" / "actors"
    left_behind.mkdir(parents=True)
    (left_behind / "removed.py").write_text("")
    first = {f"dist/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in built.iterdir()}
    assert build(other, umask=0o077) == first
    assert set(first) == {f"dist/{NAME}.tar.gz", f"dist/{NAME}-py3-none-any.whl"}


def test_the_wheel_has_the_modules_the_pages_and_the_settings_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        settings = archive.read("actors/config.toml")
        license_text = archive.read(f"{NAME}.dist-info/licenses/LICENSE")
    modules = {
        str(path.relative_to(ROOT)) for one in ("actors", "producer") for path in (ROOT / one).rglob("*.py")
    }
    typed = {"actors/py.typed", "producer/py.typed"}
    assert names == modules | PAGES | typed | {"supervisor.py", "actors/config.toml"}
    assert settings == config.PROJECT_FILE.read_bytes()
    assert license_text == (ROOT / "LICENSE").read_bytes()


# In an environment that was empty


def test_pip_gives_an_empty_environment_all_that_a_demo_needs(index, wheel, tmp_path, folder):
    commands = make_environment(tmp_path / "environment", with_libraries=False)
    installed = pip(commands / "python", "install", "--no-compile", wheel)
    assert installed.returncode == 0, installed.stderr
    assert_demo_does_its_job(commands, folder)


def assert_demo_does_its_job(commands: Path, folder: Path) -> None:
    """Check everything but times: a busy machine may be late."""
    words = ("demo", "--plays", "2000", *sets("dispatch.deadline_s=2"))
    demo = run(commands / "playtally", *words, cwd=folder)
    for promise in (
        "every play counted exactly once",
        "at most 20 videos per publish, each once",
        "only totals that changed, none ever falls",
        "ends in order",
    ):
        assert f"held  {promise}" in demo.stdout, demo.stdout + demo.stderr
    assert "\nplaytally-producer --seconds 60" in demo.stdout


def test_the_sdist_installs_what_the_wheel_does(index, sdist, commands, tmp_path):
    found = make_environment(tmp_path / "environment", with_libraries=True)
    installed = pip(found / "python", "install", "--no-deps", sdist)
    assert installed.returncode == 0, installed.stderr
    assert files_of(found) == files_of(commands)
    for name in ("playtally", "playtally-producer"):
        told = run(found / name, "--version", cwd=tmp_path)
        assert (told.returncode, told.stdout, told.stderr) == (0, f"playtally {VERSION}\n", "")


def files_of(commands: Path) -> dict[str, str]:
    """The hash of each installed file, without what names the builder and installer."""
    place = site_packages(commands)
    files = [path for one in ("actors", "producer") for path in (place / one).rglob("*")]
    files += [
        place / "supervisor.py",
        *place.glob(f"{NAME}.dist-info/*.txt"),
        place / f"{NAME}.dist-info/METADATA",
    ]
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file() and path.suffix != ".pyc"
    }


# As a user has it


def test_commands_are_named_as_they_were_started(commands, folder):
    for name, words in {"playtally": ["status", "totals", "reshard"], "playtally-producer": []}.items():
        told = run(commands / name, "--version", cwd=folder)
        assert (told.returncode, told.stdout, told.stderr) == (0, f"playtally {VERSION}\n", "")
        for command in ("", *words):
            told = run(commands / name, *command.split(), "--help", cwd=folder)
            assert told.stdout.startswith(f"usage: {name} {command}".rstrip() + " [-h]")
            assert "config.toml here, else every default" in " ".join(told.stdout.split())
    told = run(commands / "playtally", "status", cwd=folder)
    assert told.returncode == 1
    assert "start one with `playtally`, or name its --config" in told.stderr
    told = run(commands / "playtally", "--frobnicate", cwd=folder)
    assert told.returncode == 2
    assert "playtally: error: unrecognized arguments: --frobnicate" in told.stderr


def test_without_a_file_every_default_holds_and_paths_are_meant_from_the_working_directory(commands, folder):
    told = json.loads(run(commands / "playtally", "config", "--json", cwd=folder).stdout)
    assert {one["source"] for one in told} == {"default"}
    assert {one["key"]: one["value"] for one in told}["supervisor.state_dir"] == str(folder / "state")
    (folder / "config.toml").write_text("[supervisor]\nstate_dir = 'other'\n")
    told = json.loads(run(commands / "playtally", "config", "--json", cwd=folder).stdout)
    assert {one["key"]: one["value"] for one in told}["supervisor.state_dir"] == str(folder / "other")


def test_the_commented_settings_can_be_printed_whatever_file_there_is(commands, folder):
    (folder / "config.toml").write_text("[oops")
    told = run(commands / "playtally", "config", "--example", cwd=folder)
    assert (told.returncode, told.stderr) == (0, "")
    assert tomllib.loads(told.stdout) == tomllib.loads(config.PROJECT_FILE.read_text())
    assert "playtally --set dispatch.deadline_s=30" in told.stdout
    assert "supervisor.py" not in told.stdout


def test_a_service_runs_is_asked_killed_and_stopped_and_writes_into_its_state_folder_alone(commands, folder):
    def command(*words, code=0):
        told = run(commands / "playtally", *words, *sets(*ANY_PORTS), cwd=folder)
        assert told.returncode == code, told.stdout + told.stderr
        return told

    before = contents(site_packages(commands))
    with open(folder / "log", "wb") as log:
        service = subprocess.Popen(
            [commands / "playtally", *sets(*ANY_PORTS, "publish.stdout=false")],
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=log,
        )
    try:
        facts = wait_until(lambda: runfile.read(folder / "state"), "the service to start")
        assert facts["pid"] == service.pid
        produce = (
            commands / "playtally-producer",
            "--plays",
            "50",
            *sets(*ANY_PORTS),
            "--manifest",
            "made.json",
        )
        assert run(*produce, cwd=folder).returncode == 0
        made = json.loads((folder / "made.json").read_text())
        command("check")

        def child():
            status = json.loads(command("status", "--json").stdout)
            return next(one for one in status["children"] if one["id"] == "counter-0")

        assert child()["incarnation"] == 1
        command("kill", "counter-0")
        wait_until(lambda: child()["incarnation"] == 2 and child()["state"] == "running", "its return")
        wait_until(
            lambda: json.loads(command("totals", "--json").stdout) == made["totals"],
            "every play to be counted",
        )
        assert "stopped the service" in command("stop").stderr
        assert service.wait(TIMEOUT_S) == 0
    finally:
        if service.poll() is None:
            service.send_signal(signal.SIGTERM)
            service.wait(TIMEOUT_S)
    assert {path.name for path in folder.iterdir()} - {one.split("/")[0] for one in OTHERS} == {
        "log",
        "made.json",
        "state",
    }
    assert contents(site_packages(commands)) == before


def contents(folder: Path) -> dict[Path, int]:
    """Every file below, and when it changed, without what Python compiles."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_a_drill_runs_a_service_of_its_own(commands, folder):
    told = run(commands / "playtally", "drill", "--kills", "1", "--seed", "1", cwd=folder)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "the drill starts a service, a queue and a client of its own" in told.stderr
    assert "lost 0, counted twice 0" in told.stdout


def test_beside_pypis_supervisor_it_says_in_one_line_what_is_wrong_and_what_to_do(
    index, wheel, tmp_path, folder
):
    commands = make_environment(tmp_path / "environment", with_libraries=True)
    installed = pip(commands / "python", "install", "--no-deps", "--no-compile", wheel, *index.iterdir())
    assert installed.returncode == 0, installed.stderr
    for words in (["--version"], ["status"], []):
        told = run(commands / "playtally", *words, cwd=folder)
        assert (told.returncode, told.stdout) == (2, "")
        (line,) = told.stderr.splitlines()
        assert f"`import supervisor` finds {site_packages(commands)}/supervisor/__init__.py, expected" in line
        assert "install playtally into an environment of its own" in line


def test_without_a_library_it_is_said_how_to_install_it(commands, tmp_path):
    # -S leaves out site-packages. Only what is beside the script is found.
    told = run(commands / "python", "-S", site_packages(commands) / "supervisor.py", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (2, "")
    (line,) = told.stderr.splitlines()
    assert line.startswith("playtally needs argcomplete, cramjam, httptools, msgpack, msgspec, ")
    assert f"run `{commands}/python -m pip install argcomplete cramjam httptools msgpack msgspec " in line
