"""The programs that these tests run: three clients of ours, and NSQ's own tools, each as a process.

The clients are small programs around pynsq (pynsq_client.py), go-nsq (go/main.go) and nsqjs
(node/client.js), as other people write them. All three take the same order, one JSON object on stdin:

    {"do": "publish", "address": …, "client_id": …, "compression": "" | "snappy" | "deflate",
     "publishes": [{"topic": …, "bodies": […], "defer_ms": 0}, …]}
    {"do": "read", … the same …, "topic": …, "channel": …, "max_in_flight": 1, "attempts_max": 100,
     "msg_timeout_ms": …, "backoff_s": …, "then": …, "delay_ms": …, "hold_ms": …}

They say what happens, one JSON object a line on stdout: {"published": 2} or {"error": …} for each publish;
{"body": …, "id": …, "stamp_ns": …, "attempts": …, "at_ms": …} for each message, with the Unix time at which
it came; {"given_up": …} for a message that came more often than `attempts_max`, which the library finishes;
and in the end {"stopped": true}. A reader ends on SIGTERM, once it has answered the messages that it holds.
`then` says what it does with a message:

    finish          at once
    requeue         with `delay_ms`; the library backs off for some part of `backoff_s`
    requeue once    the first time; then finish
    touch           finish after `hold_ms`, with 8 touches meanwhile
    hold            finish on SIGTERM, once the queue was told to send no more
    answer late     finish the second delivery of a message, then the first

Without what a program needs a test is skipped with the reason; with CI=true it fails.
"""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from actors.system.installation import ROOT
from tests.support.needed import lacking
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.queues import QueueProcess

CLIENTS = ["pynsq", "go-nsq", "nsqjs"]
HERE = Path(__file__).parent
BUILD = HERE / "build.sh"
_DEFAULTS = {"client_id": "a-client", "compression": ""}
_READ = {
    "max_in_flight": 1,
    "attempts_max": 100,
    "msg_timeout_ms": 60_000,
    "backoff_s": 1,
    "then": "finish",
    "delay_ms": 0,
    "hold_ms": 0,
}


class Program:
    """A running program. Its output is in files, so that it never waits for a reader."""

    def __init__(self, path: Path, command: Sequence[str], environment: Mapping[str, str] | None = None):
        self._out, self._err = path.with_suffix(".out"), path.with_suffix(".err")
        self._command = command
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=out, stderr=err
            )

    def write(self, text: str) -> None:
        """Write that on its stdin, and close it."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.close()

    def output(self) -> str:
        return self._out.read_text(errors="replace")

    def log(self) -> str:
        return self._err.read_text(errors="replace")

    def terminate(self) -> None:
        """Send SIGTERM, and wait for a clean end."""
        self.process.terminate()
        self.ends()

    def ends(self) -> None:
        """Wait until it has ended, with code 0."""
        code = self.process.wait(PATIENCE_S)
        assert code == 0, f"{self._command} ended with {code}:\n{self.output()}\n{self.log()}"

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


class Client(Program):
    """One of the three clients, at work."""

    def events(self) -> list[dict[str, Any]]:
        """All it has said until now."""
        lines = self.output().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def messages(self, count: int = 0) -> list[dict[str, Any]]:
        """All messages that it got, once there are `count`."""

        def found() -> list[dict[str, Any]]:
            assert self.process.poll() in (None, 0), self.log()
            return [event for event in self.events() if "body" in event]

        wait_until(lambda: len(found()) >= count, f"{count} messages")
        return found()

    def has_said(self, event: dict[str, Any]) -> bool:
        return event in self.events()


class Programs:
    """Starts programs, all of which end with their `with`."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        self._path = path
        self._stack = stack
        self._count = 0

    def run(self, name: str, *arguments: str) -> Program:
        """A tool of NSQ."""
        found = shutil.which(name)
        if found is None:
            lacking(f"no {name} on PATH: `make nsqd` builds it")
        program = Program(self._file(name), [found, *arguments])
        self._stack.callback(program.close)
        return program

    def publish(
        self, client: str, queue: QueueProcess, *publishes: dict[str, Any], **order: object
    ) -> Client:
        """A client that publishes, once it has ended."""
        done = self._client(client, {"do": "publish", "publishes": list(publishes), **order}, queue)
        done.ends()
        assert done.events()[-1] == {"stopped": True}
        return done

    def read(self, client: str, queue: QueueProcess, topic: str, channel: str, **order: object) -> Client:
        """A client that reads, once the queue knows it."""
        before = _client_count(queue, topic, channel)
        names = {"topic": topic, "channel": channel}
        reader = self._client(client, {"do": "read", **_READ, **names, **order}, queue)

        def is_there() -> bool:
            assert reader.process.poll() is None, reader.log()
            return _client_count(queue, topic, channel) > before

        wait_until(is_there, f"{client} to read")
        return reader

    def _client(self, name: str, order: dict[str, Any], queue: QueueProcess) -> Client:
        order = {"address": queue.tcp_address, **_DEFAULTS, **order}
        client = Client(self._file(name), command_of(name))
        self._stack.callback(client.close)
        client.write(json.dumps(order))
        return client

    def _file(self, name: str) -> Path:
        self._count += 1
        return self._path / f"{name}-{self._count}"


def command_of(client: str) -> list[str]:
    """What starts a client, without its order."""
    if client == "pynsq":
        return [sys.executable, "-m", "tests.conformance.clients.pynsq_client"]
    if client == "go-nsq":
        return [str(_built("go-nsq-client"))]
    node = shutil.which("node")
    if node is None:
        lacking("no node on PATH: nsqjs needs it")
    modules = _built("node_modules")
    # nsqjs is not beside the program, because nothing is built in the checkout.
    return ["env", f"NODE_PATH={modules}", node, str(HERE / "node" / "client.js")]


@contextlib.contextmanager
def programs_in(path: Path) -> Iterator[Programs]:
    with contextlib.ExitStack() as stack:
        yield Programs(path, stack)


def _built(name: str) -> Path:
    told = subprocess.run([str(BUILD), "--look"], stdout=subprocess.PIPE, text=True, check=True)
    found = Path(told.stdout.strip()) / name
    if not found.exists():
        lacking(f"no {name}: `make nsq-clients` builds it, and needs Go and npm")
    return found


def _client_count(queue: QueueProcess, topic: str, channel: str) -> int:
    found = queue.channel(quote(topic), channel)
    return 0 if found is None else int(found["client_count"])
