"""Queues for tests: the embedded nsqd and a real one, as processes. Also a bare client of the protocol.

    @pytest.fixture(params=QUEUES)
    def queue(request, tmp_path):
        with open_queue(request.param, tmp_path) as queue:
            yield queue

Each process has free ports on 127.0.0.1, and its files under the given path. `kill()` is SIGKILL. `restart()`
starts the process again on the same ports and files. Without an nsqd on PATH, tests with the parameter "nsqd"
are skipped with a reason; with CI=true they fail.
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

from actors.system.installation import ROOT
from tests.support.needed import lacking
from tests.support.patience import PATIENCE_S, wait_until

QUEUES = ["embedded", "nsqd"]
RESPONSE, ERROR, MESSAGE = 0, 1, 2
_HOST = "127.0.0.1"
# Below the ports that systems choose by themselves, so that no process gets a port before the test uses it.
_PORTS = range(20_000, 32_000)
_chance = random.SystemRandom()  # no seed: two tests that run at the same time must not choose the same ports


class QueueHttp:
    """The HTTP interface of a queue."""

    def __init__(self, http_address: str) -> None:
        self.http_address = http_address

    def http(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """The status and the body of the answer, even if the status is an error."""
        request = urllib.request.Request(f"http://{self.http_address}{path}", data=body, method=method)
        if body is not None:
            request.add_header("Content-Type", "application/octet-stream")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def post(self, path: str, body: bytes = b"") -> None:
        status, answer = self.http("POST", path, body)
        assert status == 200, f"POST {path}: {status} {answer!r}"

    def stats(self, query: str = "") -> dict[str, Any]:
        status, body = self.http("GET", f"/stats?format=json&include_mem=false{query}")
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found

    def topic(self, name: str) -> dict[str, Any] | None:
        topics: list[dict[str, Any]] = self.stats(f"&topic={name}")["topics"] or []
        return topics[0] if topics else None

    def channel(self, topic: str, name: str) -> dict[str, Any] | None:
        channels: list[dict[str, Any]] = (self.topic(topic) or {"channels": []})["channels"]
        return next((each for each in channels if each["channel_name"] == name), None)

    def unfinished(self, topic: str, channel: str) -> int:
        """The number of messages that the channel still has: waiting, in flight or deferred."""
        found = self.channel(topic, channel)
        assert found is not None, f"no channel {channel} of topic {topic}"
        return int(found["depth"] + found["in_flight_count"] + found["deferred_count"])


class QueueProcess(QueueHttp):
    """One nsqd, embedded or real, in its own process.

    `environment`: variables that the process gets beside those of the test.
    """

    program = "nsqd"
    environment: ClassVar[dict[str, str]] = {}

    def __init__(
        self, kind: str, path: pathlib.Path, profile: str | None = None, options: Sequence[str] = ()
    ) -> None:
        """`profile`: the file to which the embedded nsqd writes a cProfile when it stops."""
        self.kind = kind
        self._options = options
        self.root = ROOT  # of the checkout whose embedded nsqd this is
        self._profile = ["-m", "cProfile", "-o", profile] if profile else []
        self.path = path / kind
        self.path.mkdir(parents=True, exist_ok=True)
        self.tcp_port, self.http_port = free_ports(2)
        self.tcp_address = f"{_HOST}:{self.tcp_port}"
        super().__init__(f"{_HOST}:{self.http_port}")
        self._log = self.path / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._started.pid

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.kind} was never started"
        return self._process

    def start(self) -> None:
        arguments = [
            f"--tcp-address={self.tcp_address}",
            f"--http-address={self.http_address}",
            f"--data-path={self.path}",
            *self._options,
        ]
        if self.kind == "embedded":
            command = [sys.executable, *self._profile, "-m", "actors.embedded_nsqd", *arguments]
        else:
            command = [require_nsqd(self.program), "--broadcast-address=127.0.0.1", *arguments]
        with self._log.open("ab") as log:
            environment = os.environ | self.environment
            self._process = subprocess.Popen(command, cwd=self.root, env=environment, stderr=log, stdout=log)
        wait_until(self._answers, f"{self.kind} to answer /ping")

    def kill(self) -> None:
        self._started.kill()
        self._started.wait()

    def stop(self) -> None:
        """Send SIGTERM, and wait until the process has ended."""
        self._started.send_signal(signal.SIGTERM)
        self._started.wait(PATIENCE_S)

    def restart(self) -> None:
        if self._started.poll() is None:
            self.stop()
        self.start()

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _answers(self) -> bool:
        if self._started.poll() is not None:
            raise AssertionError(f"{self.kind} ended while starting:\n{self.log()}")
        with contextlib.suppress(OSError):
            return self.http("GET", "/ping")[0] == 200
        return False


@contextlib.contextmanager
def open_queue(kind: str, path: pathlib.Path, *options: str) -> Iterator[QueueProcess]:
    """A running queue of a kind in QUEUES, with these options of nsqd. It is killed at the end."""
    if kind == "nsqd":
        require_nsqd()
    queue = QueueProcess(kind, path, options=options)
    try:
        queue.start()
        yield queue
    finally:
        queue.close()


def nsqd_path() -> str | None:
    return shutil.which("nsqd")


def require_nsqd(program: str = "nsqd") -> str:
    """The path of nsqd or another NSQ program. Without it the test is skipped; with CI=true it fails."""
    found = shutil.which(program)
    if found is None:
        lacking(f"no {program} on PATH: install NSQ 1.3.0 to run this against the real one")
    return found


def free_ports(count: int) -> list[int]:
    """`count` different ports that are free now."""
    found: list[int] = []
    while len(found) < count:
        port = _chance.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((_HOST, port))
            if port not in found:
                found.append(port)
    return found


class Message:
    """A message, decoded from the data of its frame."""

    def __init__(self, data: bytes) -> None:
        self.stamp_ns, self.attempts = struct.unpack_from(">QH", data)
        self.id = data[10:26]
        self.body = data[26:]

    def __repr__(self) -> str:
        return f"Message({self.id!r}, attempts={self.attempts}, {self.body!r})"


class RawClient:
    """A client that returns frames as they come: for tests of exact errors, and of clients that misbehave.

    It answers heartbeats while it waits for frames, unless `answers_heartbeats` is False.
    """

    def __init__(self, address: str, magic: bytes = b"  V2") -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE_S)
        self.answers_heartbeats = True
        self.heartbeats = 0
        self._buffer = b""
        self.socket.sendall(magic)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def frame(self, patience_s: float = PATIENCE_S) -> tuple[int, bytes]:
        """The next frame that is no heartbeat.

        Raises `EOFError` if the connection ends, and `TimeoutError` if no frame comes in time.
        """
        end = time.monotonic() + patience_s
        while True:
            kind, data = self._any_frame(end)
            if kind == RESPONSE and data == b"_heartbeat_":
                self.heartbeats += 1
                if self.answers_heartbeats:
                    self.send(b"NOP\n")
                continue
            return kind, data

    def _any_frame(self, end: float) -> tuple[int, bytes]:
        size = int.from_bytes(self._read(4, end), "big")
        data = self._read(size, end)
        return int.from_bytes(data[:4], "big"), data[4:]

    def _read(self, size: int, end: float) -> bytes:
        while len(self._buffer) < size:
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("no frame came")
            self.socket.settimeout(left_s)
            try:
                chunk = self.socket.recv(1 << 16)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise EOFError("the connection ended")
            self._buffer += chunk
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def response(self) -> bytes:
        kind, data = self.frame()
        assert kind == RESPONSE, (kind, data)
        return data

    def error(self) -> str:
        kind, data = self.frame()
        assert kind == ERROR, (kind, data)
        return data.decode()

    def message(self, patience_s: float = PATIENCE_S) -> Message:
        kind, data = self.frame(patience_s)
        assert kind == MESSAGE, (kind, data)
        return Message(data)

    def messages(self, count: int) -> list[Message]:
        return [self.message() for _ in range(count)]

    def gets_nothing(self, for_s: float = 0.1) -> bool:
        """Whether no frame comes within `for_s` seconds. Always waits that long if none comes."""
        try:
            self.frame(for_s)
        except TimeoutError:
            return True
        return False

    def is_closed(self) -> bool:
        """Whether the other side ends the connection without another frame."""
        try:
            self.frame()
        except EOFError:
            return True
        return False

    def identify(self, **settings: object) -> dict[str, Any]:
        body = json.dumps({"feature_negotiation": True, **settings}).encode()
        self.send(b"IDENTIFY\n" + sized(body))
        agreed: dict[str, Any] = json.loads(self.response())
        return agreed

    def subscribe(self, topic: str, channel: str, ready: int = 0) -> None:
        self.send(f"SUB {topic} {channel}\n".encode())
        assert self.response() == b"OK"
        if ready:
            self.ready(ready)

    def ready(self, count: int) -> None:
        self.send(f"RDY {count}\n".encode())

    def finish(self, *ids: bytes) -> None:
        self.send(b"".join(b"FIN " + id + b"\n" for id in ids))

    def publish(self, topic: str, *bodies: bytes) -> None:
        """Send a PUB of one body or an MPUB of several, and wait for the OK."""
        if len(bodies) == 1:
            self.send(f"PUB {topic}\n".encode() + sized(bodies[0]))
        else:
            self.send(f"MPUB {topic}\n".encode() + sized(multi(bodies)))
        assert self.response() == b"OK"


def sized(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def multi(bodies: tuple[bytes, ...] | list[bytes]) -> bytes:
    """The body of an MPUB."""
    return struct.pack(">i", len(bodies)) + b"".join(sized(body) for body in bodies)
