"""How soon a service publishes after its start, and what `--help` and `status` cost, beside another commit.

    python -m bench.start REF [--runs 15]

The commit REF and the working tree take turns, so that what else the machine does falls on both. Each start
is `python supervisor.py run` with the defaults, but free ports and a new state: the embedded queue, the
reference client, two shards. A play is put on the queue as soon as that takes one. The first publish is the
first line on stdout. CPU is user and system: of a start, that of all processes of the service up to the first
publish. `status` asks a service that runs. Medians of each, and the median of the runs' ratios.
"""

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.support.queues import RawClient, free_ports

from .checkouts import HOST, CannotCompare, Checkout, commit, working_tree
from .command import add_json, folder, parser, show, write_json
from .judgement import SIDES, turns
from .processes import cpu_s

TIMEOUT_S = 60.0
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
TRY_EVERY_S = 0.002
VIDEO = "8f14e45f-ceea-467f-a9d2-0c2f4b6c1d3e"
ALL_RUN = b"all children run"
FIGURES = {
    "publish_ms": "run to first publish, ms",
    "ready_ms": "run to all children run, ms",
    "start_cpu_ms": "CPU up to the first publish, ms",
    "help_cpu_ms": "CPU of --help, ms",
    "status_cpu_ms": "CPU of status, ms",
}


def main(words: list[str] | None = None) -> int:
    """Measure and print the table. Returns the exit code."""
    arguments = parser(__doc__)
    arguments.add_argument("ref", metavar="REF", help="the other commit")
    arguments.add_argument("--runs", type=int, default=15, metavar="N", help="of each (default: 15)")
    add_json(arguments)
    options = arguments.parse_args(words)
    try:
        with folder() as path:
            return _compare(options, path)
    except (CannotCompare, OSError) as reason:
        print(f"not compared: {reason}", file=sys.stderr)
        return 2


def _compare(options: argparse.Namespace, path: Path) -> int:
    checkouts = {"old": commit(options.ref, path / "old"), "new": working_tree(path / "new")}
    for name, one in checkouts.items():
        one.check()
        print(f"{name}: {one.label}")
    found: list[dict[str, dict[str, float]]] = []
    for number, order in enumerate(turns(0, options.runs + 1)):
        took = {name: _measure(checkouts[name], path / f"{name}-{number}") for name in order}
        if number:  # in the first one, Python compiles the modules
            found.append(took)
            print(f"{number}: {took}", file=sys.stderr)
    rows = []
    for figure, what in FIGURES.items():
        old, new = (statistics.median(one[name][figure] for one in found) for name in SIDES)
        ratios = [one["new"][figure] / one["old"][figure] for one in found]
        lower, ratio, upper = statistics.quantiles(ratios, n=4)
        rows.append((what, f"{old:.0f}", f"{new:.0f}", f"{ratio:.2f}", f"{lower:.2f} to {upper:.2f}"))
    show(("", "old", "new", "new/old", "quartiles"), rows)
    write_json(options.json, {"runs": found})
    return 0


def _measure(checkout: Checkout, path: Path) -> dict[str, float]:
    """All figures of one start of a checkout, in ms. `path` gets its state."""
    started = _Start(checkout, path)
    try:
        started.wait()
        return {
            "publish_ms": started.publish_s * 1e3,
            "ready_ms": started.ready_s * 1e3,
            "start_cpu_ms": started.used_s * 1e3,
            "help_cpu_ms": _command_cpu_s(checkout, "--help") * 1e3,
            "status_cpu_ms": _command_cpu_s(checkout, "status", *started.settings) * 1e3,
        }
    finally:
        started.end()


class _Start:
    """One start of a service, from its command to its first publish."""

    def __init__(self, checkout: Checkout, path: Path):
        tcp, http, client, admin = (f"{HOST}:{port}" for port in free_ports(4))
        values = {
            "embedded_nsqd.tcp_address": tcp,
            "embedded_nsqd.http_address": http,
            "client.address": client,
            "admin.address": admin,
            "publish.url": f"http://{client}/plays",
            "supervisor.state_dir": str(path),
        }
        self.settings = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
        self._queue = tcp
        self._began_s = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "supervisor.py", "run", *self.settings],
            cwd=checkout.folder,
            env=_environment(checkout),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.log: list[bytes] = []
        self.ready_s = self.publish_s = self.used_s = 0.0
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._play, self._read_log)]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Wait for the first publish, and until all children run. Raises `CannotCompare`."""
        assert self._process.stdout is not None
        timer = threading.Timer(TIMEOUT_S, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        self.publish_s = time.monotonic() - self._began_s
        timer.cancel()
        if not line:
            raise CannotCompare(f"the service published nothing: {b''.join(self.log).decode()}")
        ours = psutil.Process(self._process.pid)
        self.used_s = sum(cpu_s(one.pid) for one in (ours, *ours.children(recursive=True)))
        _wait(lambda: bool(self.ready_s))

    def end(self) -> None:
        """Stop the service."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=TIMEOUT_S)
        with suppress(OSError):
            os.killpg(self._process.pid, 9)

    def _play(self) -> None:
        while self._process.poll() is None:
            with suppress(OSError), RawClient(self._queue) as client:
                client.publish("plays", f'{{"video_id": "{VIDEO}"}}'.encode())
                return
            time.sleep(TRY_EVERY_S)

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line)
            if ALL_RUN in line:
                self.ready_s = time.monotonic() - self._began_s


def _wait(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > end_s:
            raise CannotCompare("the service did not start")
        time.sleep(TRY_EVERY_S)


def _command_cpu_s(checkout: Checkout, *words: str) -> float:
    """CPU seconds, user and system, of one command."""
    with _quiet(checkout, words) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise CannotCompare(f"{words[0]} of {checkout.label} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def _environment(checkout: Checkout) -> dict[str, str]:
    """A checkout's environment in which Python keeps what it compiled, as it does by default."""
    return {name: value for name, value in checkout.environment().items() if name != NO_BYTECODE}


@contextmanager
def _quiet(checkout: Checkout, words: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes]]:
    yield subprocess.Popen(
        [sys.executable, "supervisor.py", *words],
        cwd=checkout.folder,
        env=_environment(checkout),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    sys.exit(main())
