"""A service started from outside, as its users do: the process, its log, its figures, its end.

For the demo and the tests. Knows the service only by its command line and its HTTP.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self, TypeVar

from .. import config
from ..system import runfile
from ..system.exits import Failure
from ..system.installation import ROOT, environment

COMMAND = [sys.executable, str(ROOT / "supervisor.py")]
START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
Found = TypeVar("Found")


class Service:
    """A supervisor in a process of its own, with its state in `state_dir`.

    stdout goes to `publishes.jsonl` there and stderr to `service.log`, both appended to, so that they
    hold the whole story through restarts.
    """

    def __init__(self, state_dir: Path, overrides: Iterable[str] = (), config_file: str | Path | None = None):
        self.state_dir = state_dir
        self.publishes_file = state_dir / "publishes.jsonl"
        self.log_file = state_dir / "service.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.program = [*COMMAND, "run"]
        file = config.find(config_file)
        config_arguments = [] if file is None else ["--config", str(file)]
        settings = [*overrides, f"supervisor.state_dir={state_dir}"]
        self.arguments = [*config_arguments, *(word for one in settings for word in ("--set", one))]

    def start(self, stdout: int | None = None) -> None:
        """Start it, and wait until all its children run. Raises `Failure` with its log if it ends.

        `stdout`: a descriptor for the publishes to go to instead of the file.
        """
        self.state_dir.mkdir(parents=True, exist_ok=True)
        with open(self.publishes_file, "ab") as out, open(self.log_file, "ab") as err:
            self.process = subprocess.Popen(
                [*self.program, *self.arguments],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=err,
                start_new_session=True,  # Ctrl-C at the terminal is ours to pass on
            )
        pid = self.process.pid
        wait_for(
            lambda: self.ended or (self.facts() or {}).get("pid") == pid,
            "the service to start",
            START_TIMEOUT_S,
            tell=self.log,
        )
        if self.ended:
            raise Failure(f"the service ended with code {self.process.returncode}:\n{self.log()}")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def ended(self) -> bool:
        """Whether the supervisor's process is gone."""
        return self.process is None or self.process.poll() is not None

    def facts(self) -> dict[str, Any] | None:
        """Its run file."""
        return runfile.read(self.state_dir)

    def address(self, name: str) -> str:
        """Where a part of it is reached, by its name in the run file. Raises `OSError` while it is not."""
        facts = self.facts()
        if facts is None:
            raise ConnectionError("the service does not run")
        address: str = facts[name]
        return address

    def log(self) -> str:
        """Everything that it said on stderr."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    def publishes(self) -> list[dict[str, Any]]:
        """Everything that it said on stdout: the publishes."""
        return [json.loads(line) for line in self.publishes_file.read_text().splitlines()]

    def status(self) -> dict[str, Any]:
        """Fresh figures. Raises `OSError` when it does not answer."""
        status: dict[str, Any] = self._get("admin_address", "/status")
        return status

    def totals(self) -> dict[str, int]:
        """What its reference client was told."""
        totals: dict[str, int] = self._get("client_address", "/totals")
        return totals

    def report(self) -> dict[str, Any]:
        """What its reference client saw."""
        report: dict[str, Any] = self._get("client_address", "/report")
        return report

    def child(self, child_id: str) -> dict[str, Any]:
        """One child's line in the status."""
        return next(child for child in self.status()["children"] if child["id"] == child_id)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of its commands."""
        return subprocess.run(
            [*COMMAND, words[0], *self.arguments, *words[1:]],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def stop(self) -> int:
        """Stop it in order. Its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL the supervisor."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Make sure that nothing of it is left, whatever state it is in."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _get(self, name: str, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.address(name)}{path}", timeout=ANSWER_TIMEOUT_S) as answer:
            return json.load(answer)


def produce(
    service: Service, *words: str, manifest: Path, log_file: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start the producer against a service's queue. Its stderr is ours, or goes to `log_file`."""
    with open(log_file or os.devnull, "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "producer", *service.arguments, *words, "--manifest", str(manifest)],
            env=environment(),
            stderr=log if log_file else None,
        )


def wait_for(
    condition: Callable[[], Found | None], what: str, timeout_s: float, tell: Callable[[], str] = str
) -> Found:
    """Wait until a condition is true; what it returned. Raises `Failure` with `tell()` in time."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError):
            found = condition()
            if found:
                return found
        if time.monotonic() > deadline_s:
            raise Failure(f"waited {timeout_s:g} s for {what}\n{tell()}")
        time.sleep(0.02)


def free_or_any(address: str) -> str:
    """The address if it is free now, else the same with port 0."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError:
            return f"{host}:0"
    return address
