"""A worker with its own copy of the checkout. Mutated files and what tests write are gone with it."""

import ast
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from .population import Mutation, mutated
from .probe import HITS
from .protocol import Answer, Ended, Hello, Request


def copy_checkout(root: Path, to: Path) -> None:
    """Copy the files that git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in names:
        if name and (root / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, to / name)
    for folder in ("actors", "tests"):  # what is compiled already; a file that is mutated is newer
        for path in (root / folder).rglob("__pycache__/*.pyc"):
            target = to / path.relative_to(root)
            if target.parent.parent.is_dir():
                target.parent.mkdir(exist_ok=True)
                shutil.copy2(path, target)


class WorkerLost(Exception):
    """A worker ended, or could not collect the tests. The text is the end of what it printed."""


class Job:
    """A copy of the checkout in `folder`, and the worker that runs in it, from `start` to `stop`."""

    def __init__(self, root: Path, folder: Path, tests: list[str]) -> None:
        self.copy = folder / "c"
        self._folder = folder
        self._tests = tests
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._hello: Hello | None = None
        copy_checkout(root, self.copy)

    def start(self, hits: bool = False) -> None:
        """Start a worker. `hits`: it notes which probes are reached."""
        ours, theirs = socket.socketpair()
        environment = {name: value for name, value in os.environ.items() if name != HITS}
        environment |= {
            "PYTHONPATH": str(self.copy),
            "TMPDIR": str(self._folder),
            "OPENBLAS_NUM_THREADS": "1",
        }
        environment |= {HITS: str(self._folder / "hits")} if hits else {}
        command = [sys.executable, "-m", "tests.mutants.worker", str(theirs.fileno()), str(self._folder)]
        command += self._tests
        with theirs, (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.copy,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
            )
        self._connection, self._lines = ours, ours.makefile("rwb")
        self._hello = None

    def hello(self) -> Hello:
        """What the worker has collected. Raises `WorkerLost`."""
        if self._hello is None:
            self._hello = msgspec.json.decode(self._line(), type=Hello)
            if self._hello.errors:
                raise self._lost()
        return self._hello

    def ask(self, request: Request) -> Answer:
        """Run tests. Raises `WorkerLost`."""
        self.hello()
        self._lines.write(msgspec.json.encode(request) + b"\n")
        self._lines.flush()
        return msgspec.json.decode(self._line(), type=Answer)

    def ask_anew(self, request: Request, mutation: Mutation) -> Answer:
        """Run tests in a worker that has imported the mutated file; then start an ordinary one again."""
        path = self.copy / mutation.file
        source = path.read_text(encoding="utf-8")
        self.stop()
        path.write_text(ast.unparse(mutated(source, mutation.file, mutation.id)), encoding="utf-8")
        try:
            self.start()
            return self.ask(request)
        except WorkerLost:
            return Answer(Ended.DIED, "the imports", [])
        finally:
            self.stop()
            path.write_text(source, encoding="utf-8")
            os.utime(path)
            self.start()

    def stop(self) -> None:
        """End the worker. Nothing happens if there is none."""
        if self._connection is not None and self._process is not None:
            for one in [*psutil.Process(self._process.pid).children(recursive=True), self._process]:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            self._process.wait()
            # Not before: another thread may be reading, until it sees the end.
            with suppress(OSError):
                self._lines.close()
            self._connection.close()
        self._connection = self._process = None

    def _line(self) -> bytes:
        line = self._lines.readline()
        if not line:
            raise self._lost()
        return line

    def _lost(self) -> WorkerLost:
        text = (self._folder / "log").read_text(errors="replace")
        return WorkerLost("\n".join(text.splitlines()[-30:]))
