"""A real nsqd (or nsqlookupd) as a process of a test, and what it holds in the end.

Promises that what was started is gone when the `with` ends, and that a test without the binaries
skips with the reason, or fails where `CI=true` says that they must be there. Speaks to nsqd with
sockets of its own, not with the code under test.
"""

import collections
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from tests.support.patience import PATIENCE_S, wait_until

LAST = b"the last message of the test"


class Message(NamedTuple):
    """A message as nsqd delivered it; `arrived_at_ns` is nsqd's stamp."""

    body: bytes
    arrived_at_ns: int


def binary(name: str) -> str:
    """The path of `nsqd` or another of NSQ's programs."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not on the PATH; install NSQ to run this test"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RealNsqd:
    """One nsqd whose ports and data outlive its process: it can be killed and started again.

    It keeps messages on disk alone, in order, so that a kill -9 loses nothing that it acknowledged
    once it wrote down how far it is (every 500 messages), and `drain` knows when it has seen all.
    """

    def __init__(self, data_path: Path, *options: str):
        self._binary = binary("nsqd")
        self._data_path = data_path
        self._options = options
        self._process: subprocess.Popen | None = None
        tcp_port, http_port = free_port(), free_port()
        self.tcp_address = f"127.0.0.1:{tcp_port}"
        self.http_address = f"127.0.0.1:{http_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> Self:
        """Start it and wait until it answers."""
        self._data_path.mkdir(exist_ok=True)
        with (self._data_path / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._binary,
                    "-data-path",
                    str(self._data_path),
                    "-tcp-address",
                    self.tcp_address,
                    "-http-address",
                    self.http_address,
                    "-broadcast-address",
                    "127.0.0.1",
                    "-mem-queue-size",
                    "0",
                    "-sync-every",
                    "500",
                    *self._options,
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, f"nsqd at {self.http_address} to answer")
        return self

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def messages_put(self, topic: str) -> int:
        """How many messages nsqd took on that topic since it was started."""
        for found in self._stats()["topics"]:
            if found["topic_name"] == topic:
                return found["message_count"]
        return 0

    def drain(self, topic: str) -> list[Message]:
        """Everything on the topic, taken from it, in order."""
        request = urllib.request.Request(f"http://{self.http_address}/pub?topic={topic}", LAST)
        urllib.request.urlopen(request, timeout=PATIENCE_S).read()
        messages = []
        for message in _consume(self.tcp_address, topic):
            if message.body == LAST:
                return messages
            messages.append(message)
        raise AssertionError(f"nsqd at {self.tcp_address} closed the connection before the end")

    def plays(self, topic: str) -> dict[str, int]:
        """Plays by video of everything on the topic, taken from it."""
        bodies = [message.body for message in self.drain(topic)]
        return dict(collections.Counter(json.loads(body)["video_id"] for body in bodies))

    def _stats(self) -> dict[str, Any]:
        url = f"http://{self.http_address}/stats?format=json"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def _answers(self) -> bool:
        return _get_ok(f"http://{self.http_address}/ping")


@contextlib.contextmanager
def real_lookupd() -> Iterator[tuple[str, str]]:
    """A running nsqlookupd: its TCP and its HTTP address."""
    tcp_address, http_address = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [binary("nsqlookupd"), "-tcp-address", tcp_address, "-http-address", http_address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _get_ok(f"http://{http_address}/ping"), "nsqlookupd to answer")
        yield tcp_address, http_address
    finally:
        process.kill()
        process.wait()


def _get_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _consume(tcp_address: str, topic: str) -> Iterator[Message]:
    """Messages of the topic, finished as they are read (NSQ's protocol, frame by frame)."""
    host, _, port = tcp_address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(f"  V2SUB {topic} the_test\nRDY 500\n".encode())
        stream = connection.makefile("rb")
        while head := stream.read(8):
            size, kind = struct.unpack(">ll", head)
            frame = stream.read(size - 4)
            if kind == 2:
                connection.sendall(b"FIN " + frame[10:26] + b"\n")
                yield Message(frame[26:], struct.unpack(">q", frame[:8])[0])
            elif kind == 1:
                raise AssertionError(f"nsqd at {tcp_address} answered {frame!r}")
            elif frame == b"_heartbeat_":
                connection.sendall(b"NOP\n")
