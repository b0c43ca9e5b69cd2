"""A real nsqd (or nsqlookupd) as a process of a test, and the messages that it holds in the end.

Each process ends with its `with`. Without the binaries a test is skipped with a reason; with CI=true it
fails. This module speaks to nsqd with its own sockets, not with the code under test.
"""

import collections
import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.support.patience import wait_until
from tests.support.queues import Message, QueueHttp, QueueProcess, RawClient, free_ports, require_nsqd

LAST = b"the last message of the test"


class RealNsqd(QueueProcess):
    """One nsqd. After a kill it can be started again with the same ports and data.

    It keeps messages only on disk, in order, and writes its position every 500 messages. So a kill -9 loses
    no acknowledged message before that position, and `drain` knows when it has seen all messages.
    """

    def __init__(self, path: Path, *options: str):
        require_nsqd()
        super().__init__("nsqd", path, options=["--mem-queue-size=0", "--sync-every=500", *options])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def messages_put(self, topic: str) -> int:
        """The number of messages that nsqd got on that topic since it was started."""
        found = self.topic(topic)
        return int(found["message_count"]) if found else 0

    def drain(self, topic: str) -> list[Message]:
        """Take all messages from the topic, in order."""
        self.post(f"/pub?topic={topic}", LAST)
        messages: list[Message] = []
        with RawClient(self.tcp_address) as client:
            client.subscribe(topic, "the_test", ready=500)
            while (message := client.message()).body != LAST:
                client.finish(message.id)
                messages.append(message)
            client.finish(message.id)
        return messages

    def plays(self, topic: str) -> dict[str, int]:
        """Take all messages from the topic. Returns the number of plays by video."""
        bodies = [message.body for message in self.drain(topic)]
        return dict(collections.Counter(json.loads(body)["video_id"] for body in bodies))


class RealLookupd(QueueHttp):
    """One nsqlookupd. It can be started later, and again, at the same addresses."""

    def __init__(self) -> None:
        self.tcp_address, http_address = (f"127.0.0.1:{port}" for port in free_ports(2))
        super().__init__(http_address)
        self._program = require_nsqd("nsqlookupd")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "nsqlookupd was never started"
        return self._process.pid

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                self._program,
                f"--tcp-address={self.tcp_address}",
                f"--http-address={self.http_address}",
                "--tombstone-lifetime=1h",  # longer than any test, on the slowest machine
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, "nsqlookupd to answer")

    def close(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def topics_of(self, nsqd: QueueProcess) -> list[str]:
        """The topics that the nsqd has told it of."""
        nodes = json.loads(self.http("GET", "/nodes")[1])["producers"]
        return [topic for node in nodes if node["tcp_port"] == nsqd.tcp_port for topic in node["topics"]]

    def tombstone(self, nsqd: QueueProcess, topic: str) -> None:
        """Say that the nsqd's topic is about to be deleted."""
        wait_until(lambda: topic in self.topics_of(nsqd), f"{topic} to be registered")
        self.post(f"/topic/tombstone?topic={topic}&node={nsqd.http_address}")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.http("GET", "/ping")[0] == 200
        return False


@contextlib.contextmanager
def real_lookupd() -> Iterator[tuple[str, str]]:
    """A running nsqlookupd: its TCP and its HTTP address."""
    lookupd = RealLookupd()
    try:
        lookupd.start()
        yield lookupd.tcp_address, lookupd.http_address
    finally:
        lookupd.close()
