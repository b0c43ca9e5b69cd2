"""A process that has the tests collected, and runs them in forks of itself, each with another mutation.

python -m tests.mutants.worker FD FOLDER TESTS…     in a copy of the checkout. Requests and answers are on the
                                                    socket FD; FOLDER is for the files of the tests
"""

import ast
import gc
import os
import select
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from types import FunctionType

import msgspec
import psutil
import pytest

from .population import mutated
from .probe import HITS, take
from .protocol import Answer, Begun, Ended, Hello, Request, Result
from .trial import (
    SEED,
    CannotReplace,
    Key,
    Trial,
    limit_memory,
    loaded_functions,
    move_temporary,
    replace_code,
)

# The runs of the simulation that are tried where the tests of a module notice nothing.
SEEDS = 40
# How long a test may take, as a multiple of what it took without the mutation, and some seconds more. The run
# then looks whether the machine is to blame.
TIMES, MORE_S = 10.0, 60.0
BEGINS_S = 600.0
_lines = msgspec.json.Decoder(Begun | Result)


class Worker:
    """A plugin of pytest that serves requests in the place of running all tests."""

    def __init__(self, connection: socket.socket, folder: Path) -> None:
        self._connection = connection.makefile("rwb")
        self._folder = folder
        self._items: dict[str, pytest.Item] = {}
        self._trial: Trial | None = None
        self._functions: dict[Key, list[FunctionType]] = {}
        self._errors = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """The same examples in every run, and no search for smaller ones: one that fails is enough."""
        import hypothesis  # not before pytest, which wants to rewrite its assertions

        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        usual = hypothesis.settings.default
        hypothesis.settings.register_profile("mutants", usual, derandomize=True, database=None, phases=phases)
        hypothesis.settings.load_profile("mutants")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._errors += report.failed

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._trial is not None and not report.passed:
            self._trial.failed = True

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Serve until the run closes the socket."""
        self._items = {item.nodeid: item for item in session.items}
        self._functions = loaded_functions(str(Path("actors").resolve()))
        gc.freeze()  # a collection in a fork would touch all of it
        path = os.environ.get(HITS)
        names = [*self._items, *(f"{SEED}{seed}" for seed in range(SEEDS))]
        self._send(Hello(names, self._errors, take(path) if path else []))
        decoder = msgspec.json.Decoder(Request)
        for line in self._connection:
            self._send(self._serve(decoder.decode(line)))
        return True

    def _send(self, message: Hello | Answer) -> None:
        self._connection.write(msgspec.json.encode(message) + b"\n")
        self._connection.flush()

    def _serve(self, request: Request) -> Answer:
        """Run a request in a fork. Processes that tests start read the mutated file."""
        source = ""
        if request.mutation:
            path = Path(request.file)
            source, state = path.read_text(encoding="utf-8"), path.stat()
            _write(path, _unparsed(source, request))
        folder = self._folder / "t"
        folder.mkdir()
        try:
            return self._fork(request, source, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if request.mutation:
                _write(path, source)
                os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    def _fork(self, request: Request, source: str, folder: Path) -> Answer:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setpgid(0, 0)
                self._in_fork(request, source, folder, writing)
            finally:
                os._exit(1)
        os.close(writing)
        with open(reading, "rb", buffering=0) as pipe:
            seen, status = _followed(pid, pipe.fileno())
        results = [one for one in seen if isinstance(one, Result)]
        last = next((one.test.id for one in reversed(seen) if isinstance(one, Begun)), "")
        if status is None:
            return Answer(Ended.TIME, last, results)
        by_status = {0: Ended.PASSED, 2: Ended.FAILED, 3: Ended.REFUSED, -signal.SIGXCPU: Ended.CPU}
        return Answer(by_status.get(status, Ended.DIED), last, results)

    def _in_fork(self, request: Request, source: str, folder: Path, writing: int) -> None:
        """Run the tests, and exit with 0 (passed), 2 (failed) or 3 (the mutation was refused)."""

        def say(line: Begun | Result) -> None:
            os.write(writing, msgspec.json.encode(line) + b"\n")

        self._trial = Trial(self._items, say)
        if request.mutation:
            try:
                replace_code(self._functions, source, request.file, request.mutation)
            except CannotReplace:
                os._exit(3)
        move_temporary(str(folder))
        limit_memory()
        os._exit(0 if self._trial.run(request) else 2)


def _unparsed(source: str, request: Request) -> str:
    return ast.unparse(mutated(source, request.file, request.mutation))


def _write(path: Path, text: str) -> None:
    """Write a module, and delete what was compiled of it."""
    path.write_text(text, encoding="utf-8")
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()


def _followed(pid: int, pipe: int) -> tuple[list[Begun | Result], int | None]:
    """What a fork says until it ends, and its exit code: None if a test took too long."""
    seen: list[Begun | Result] = []
    held, until_s, ended, status = b"", time.monotonic() + BEGINS_S, 0, 0
    while not ended and time.monotonic() < until_s:
        # Not until the pipe's end: a process that the tests have left behind may hold the pipe.
        ended, status = os.waitpid(pid, os.WNOHANG)
        while select.select([pipe], [], [], 0 if ended else 0.05)[0]:
            read = os.read(pipe, 1 << 20)
            if not read:
                break
            *lines, held = (held + read).split(b"\n")
            seen += [_lines.decode(line) for line in lines]
            if lines:
                until_s = time.monotonic() + MORE_S + TIMES * seen[-1].test.wall_s
    if ended:
        _end([], pid)
        return seen, os.waitstatus_to_exitcode(status)
    _end(psutil.Process(pid).children(recursive=True), pid)
    os.waitpid(pid, 0)
    return seen, None


def _end(started: list[psutil.Process], pid: int) -> None:
    """End a fork's group, and what else it has started."""
    for end in (lambda: os.killpg(pid, signal.SIGKILL), *(one.kill for one in started)):
        try:
            end()
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            pass


def main(arguments: list[str]) -> int:
    """Collect the tests, and serve."""
    connection = socket.socket(fileno=int(arguments[0]))
    connection.set_inheritable(False)
    options = ["-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["-o", "timeout=0", "-o", "faulthandler_timeout=0"]
    return int(pytest.main([*options, *arguments[2:]], plugins=[Worker(connection, Path(arguments[1]))]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
