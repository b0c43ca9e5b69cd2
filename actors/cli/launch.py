"""Starts a service and watches it from outside, by its command line, its run file and HTTP."""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self, TypeVar

from .. import config
from ..supervision.printable import Lines
from ..system import lifeline, runfile
from ..system.direct_http import open_directly
from ..system.exits import Failure
from ..system.installation import ROOT, environment
from ..system.ownership import FOLDER_MODE

COMMAND = [sys.executable, str(ROOT / "supervisor.py")]
START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
Found = TypeVar("Found")


class Service:
    """A service in processes of its own. It ends when this process does, however this one ends.

    `publishes_file` and `log_file` get the output of all its starts.
    """

    def __init__(self, state_dir: Path, overrides: Iterable[str] = (), config_file: str | Path | None = None):
        self.state_dir = state_dir
        self.publishes_file = state_dir / "publishes.jsonl"
        self.log_file = state_dir / "service.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.program = [*COMMAND, "run"]
        overrides = [*overrides, f"supervisor.state_dir={state_dir}"]
        self.arguments = [*_settings_of(config_file), *_set(overrides)]
        self._client_token = functools.cache(lambda: _client_token(config_file, overrides))

    def start(self, stdout: int | None = None, stderr: int | None = None) -> None:
        """Start the service, and wait until all its children run.

        `stdout`: a file descriptor that gets the publishes instead of `publishes.jsonl`. `stderr`: one that
        gets the log instead of `service.log`. Raises `Failure` with the log if the service ends, or does not
        start within `START_TIMEOUT_S`.
        """
        self.state_dir.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        with open(self.publishes_file, "ab") as out, open(self.log_file, "ab") as err:
            self.process = subprocess.Popen(
                [*self.program, *self.arguments],
                env=lifeline.hand_on(environment()),
                pass_fds=[lifeline.descriptor()],
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=err if stderr is None else stderr,
                start_new_session=True,  # Ctrl-C at the terminal must not reach the service
            )
        pid = self.process.pid
        wait_for(
            lambda: self.ended or (self.facts() or {}).get("pid") == pid,
            "the service to start",
            START_TIMEOUT_S,
            tell=self.log,
        )
        if self.ended:
            ended = f"the service ended with code {self.process.returncode}:"
            raise Failure(ended, Lines(self.log()))

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
        """Return the content of the run file, None while the service does not run."""
        return runfile.read(self.state_dir)

    def address(self, name: str) -> str:
        """Return the "host:port" that the run file has under `name`. Raises `OSError` if no service runs."""
        facts = self.facts()
        if facts is None:
            raise ConnectionError("the service does not run")
        return str(facts[name])

    def log(self) -> str:
        """Return everything that the service wrote to stderr."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    def publishes(self) -> list[dict[str, Any]]:
        """Return the publishes that the service wrote to stdout."""
        return [json.loads(line) for line in self.publishes_file.read_text().splitlines()]

    def status(self) -> dict[str, Any]:
        """Return the answer to GET /status. Raises `OSError` if the service does not answer."""
        return self._get("admin_address", "/status", str((self.facts() or {}).get("secret", "")))

    def totals(self) -> dict[str, int]:
        """Return the totals that the reference client has, by video."""
        return self._get("client_address", "/totals", self._client_token())

    def report(self) -> dict[str, Any]:
        """Return the reference client's answer to GET /report."""
        return self._get("client_address", "/report", self._client_token())

    def caught_up(self, plays: int = 0) -> dict[str, Any] | None:
        """Return the status if it has counted so many plays and published them all, else None."""
        status = self.status()
        return status if status["caught_up"] and status["plays"]["counted"] >= plays else None

    def child(self, child_id: str) -> dict[str, Any]:
        """Return one child's entry in the status."""
        return next(child for child in self.status()["children"] if child["id"] == child_id)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `supervisor.py` on this service. `words`: its name, then its arguments."""
        return subprocess.run(
            [*COMMAND, words[0], *self.arguments, *words[1:]],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def stop(self) -> int:
        """Stop the service with SIGTERM, and wait until it ended. Returns its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL the supervisor."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End a running service with SIGTERM. After `STOP_TIMEOUT_S`, SIGKILL its process group."""
        if self.process is None or self.ended:
            return
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _get(self, name: str, path: str, token: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://{self.address(name)}{path}", headers=headers)
        with open_directly(request, ANSWER_TIMEOUT_S) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


def _client_token(config_file: str | Path | None, overrides: list[str]) -> str:
    """The token of the reference client with these settings, or "". Raises `Failure`."""
    try:
        return config.token_of(config.load(config_file, overrides), "client").value()
    except config.ConfigError:
        return ""  # the service says what is wrong, and does not start


def _settings_of(config_file: str | Path | None) -> list[str]:
    """The words that give another process the settings of a config file, None for the one that is found.

    A stream can't be read twice. So its settings are given one by one, and the file is an empty one.
    """
    file = config.find(config_file)
    if file is None:
        return []
    if not config.is_stream(file):
        return ["--config", str(file)]
    named = [one for one in config.explain(file) if one.source != "default"]
    words = _set(f"{one.key}={json.dumps(one.value, ensure_ascii=False)}" for one in named)
    return ["--config", os.devnull, *words]


def _set(settings: Iterable[str]) -> list[str]:
    return [word for one in settings for word in ("--set", one)]


def produce(
    service: Service, *words: str, manifest: Path, log_file: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start the producer, with these options, on a service's queue. It ends when this process does.

    `log_file` gets its stderr; None: ours does.
    """
    with open(log_file or os.devnull, "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "producer", *service.arguments, *words, "--manifest", str(manifest)],
            env=lifeline.hand_on(environment()),
            pass_fds=[lifeline.descriptor()],
            stderr=log if log_file else None,
        )


def wait_for(
    condition: Callable[[], Found | None], what: str, timeout_s: float, tell: Callable[[], str] = str
) -> Found:
    """Wait until `condition` returns a true value, and return it. An `OSError` in it counts as false.

    After `timeout_s` seconds it raises `Failure`, which says `what` was waited for and adds `tell()`.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError):
            found = condition()
            if found:
                return found
        if time.monotonic() > deadline_s:
            raise Failure(f"waited {timeout_s:g} s for {what}", Lines(tell()))
        time.sleep(0.02)
