"""Checkouts of this project, and a service started from a checkout as its users start it.

Owns the copying of a checkout into its own folder, and the processes of a service. Uses only those parts of a
checkout that must not change: its command line, its settings, GET /status. Its modules may be anywhere.
"""

import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
from packaging.requirements import Requirement

from actors.system.installation import ROOT
from tests.support.queues import free_ports

from .processes import cpu_s

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
HTTP_TIMEOUT_S = 20.0
TOP_LEVEL = ("actors", "supervisor")


class CannotCompare(Exception):
    """The two checkouts can't be compared. The text says why, for people, in a few lines."""


@dataclass(frozen=True)
class Checkout:
    """A folder with one version of the project. `label` describes the version for people."""

    folder: Path
    label: str

    def environment(self) -> dict[str, str]:
        """The environment of this process, with this checkout's folder as the only entry of PYTHONPATH."""
        return {**os.environ, "PYTHONPATH": str(self.folder)}

    def check(self) -> None:
        """Raise `CannotCompare` if this environment can't run the checkout, or would run other modules."""
        lacking = missing(requirements(self.folder))
        if lacking:
            raise CannotCompare(f"{self.label} needs what this environment lacks: {', '.join(lacking)}")
        code = f"import {', '.join(TOP_LEVEL)}\nfor one in {', '.join(TOP_LEVEL)}: print(one.__file__)"
        found = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
        )
        if found.returncode:
            raise CannotCompare(f"{self.label} cannot be imported:\n{found.stderr}")
        for file in (Path(line).resolve() for line in found.stdout.splitlines()):
            if not file.is_relative_to(self.folder.resolve()):
                raise CannotCompare(f"{self.label} would run {file}, expected a file in {self.folder}")


def commit(ref: str, folder: Path) -> Checkout:
    """Copy the commit `ref` into a new folder. Raises `CannotCompare` if there is no such commit."""
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if found is None and not (ROOT / ".git").exists():
        raise CannotCompare(f"{ROOT} is no clone, expected one: other commits are read from its .git")
    if found is None:
        raise CannotCompare(f"no commit {ref!r} in {ROOT}")
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    subprocess.run(
        ["git", "-C", str(ROOT), "archive", "--format=tar", f"--output={archive}", found.strip()], check=True
    )
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    archive.unlink()
    return Checkout(folder, _described(found.strip()))


def working_tree(folder: Path) -> Checkout:
    """Copy the files of the working tree, so that an edit between two pairs changes nothing."""
    names = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    changed = _git("status", "--porcelain")
    if names is None or changed is None:
        raise CannotCompare(
            f"{ROOT} is no git checkout, expected one: there is no other commit to compare with"
        )
    for name in filter(None, names.split("\0")):
        if os.path.lexists(ROOT / name):  # a file that was deleted is still in git's list
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    label = _described("HEAD")
    return Checkout(folder, f"{label}, with uncommitted changes" if changed else label)


def requirements(folder: Path) -> list[str]:
    """The requirements in a checkout's setup.cfg."""
    parser = ConfigParser(interpolation=None)
    parser.read(folder / "setup.cfg", encoding="utf-8")
    return parser.get("options", "install_requires", fallback="").split("\n")


def missing(needed: Iterable[str]) -> list[str]:
    """The requirements that this environment does not fulfil."""
    return [line for line in map(str.strip, needed) if line and not _fulfilled(Requirement(line))]


def _fulfilled(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def _git(*words: str) -> str | None:
    """The output of git; None if git fails."""
    ended = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    return ended.stdout if ended.returncode == 0 else None


def _described(ref: str) -> str:
    return (_git("log", "-1", "--format=%h (%s)", ref) or ref).strip()


class Service:
    """One service of a checkout. The context starts it and stops it."""

    def __init__(self, checkout: Checkout, folder: Path, settings: Iterable[str]):
        """`folder` gets the state and the log. `settings` are as for --set."""
        self._checkout = checkout
        self._folder = folder
        self._admin = f"{HOST}:{free_ports(1)[0]}"
        self._settings = [
            *settings,
            f"admin.address={self._admin}",
            f"supervisor.state_dir={folder / 'state'}",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        overrides = [word for setting in self._settings for word in ("--set", setting)]
        with open(self._folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "supervisor.py", "run", *overrides],
                cwd=self._checkout.folder,
                env=self._checkout.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only this process, which stops the service in order
            )
        try:
            self.wait_for(self._runs, "start", START_TIMEOUT_S)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def status(self) -> dict[str, Any]:
        """The answer to GET /status. Raises `OSError` without an answer."""
        with urllib.request.urlopen(f"http://{self._admin}/status", timeout=HTTP_TIMEOUT_S) as answer:
            found = json.load(answer)
        assert isinstance(found, dict)
        return found

    def cpu_s(self) -> dict[int, float]:
        """CPU seconds (user and system) that each process of the service has used, by pid."""
        assert self._process is not None
        try:
            supervisor = psutil.Process(self._process.pid)
            return {one.pid: cpu_s(one.pid) for one in (supervisor, *supervisor.children(recursive=True))}
        except (OSError, psutil.Error) as error:
            raise CannotCompare(f"a process of {self._checkout.label} ended:\n{self._log()}") from error

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait until `condition` is true.

        Raises `CannotCompare`, with the service's log, if the service ends or does not `what` in time.
        """
        assert self._process is not None
        end_s = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(OSError):
                if condition():
                    return
            if self._process.poll() is not None:
                raise CannotCompare(f"{self._checkout.label} ended and did not {what}:\n{self._log()}")
            if time.monotonic() > end_s:
                raise CannotCompare(
                    f"{self._checkout.label} did not {what} in {timeout_s:g} s:\n{self._log()}"
                )
            time.sleep(0.05)

    def _runs(self) -> bool:
        return all(child["state"] == "running" for child in self.status()["children"])

    def _end(self) -> None:
        """Stop the service in order, and make sure that none of its processes is left."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        with contextlib.suppress(OSError):  # raised if, as expected, no process is left
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")


def used_s(before: dict[int, float], after: dict[int, float]) -> float:
    """CPU seconds that a service used between two results of `Service.cpu_s`.

    Raises `CannotCompare` if a process has ended in between.
    """
    if not before.keys() <= after.keys():
        raise CannotCompare("a process of the service ended while it was measured, and its CPU time with it")
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
