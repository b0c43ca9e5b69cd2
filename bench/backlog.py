"""Plays on a queue, real nsqd or embedded, that a service takes when it is let.

Owns what is put there and when the service may have it. Knows the queue by NSQ's protocols alone.
"""

import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.support.queues import RawClient

CHANNEL = "playtally"
PLAYS_A_PUB = 2000
HTTP_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Queue:
    """One topic of a queue that a service reads."""

    tcp_address: str
    http_address: str
    topic: str

    def create(self) -> None:
        """The topic and the service's channel, as far as they are not there yet."""
        self._post(f"/topic/create?topic={self.topic}")
        self._post(f"/channel/create?topic={self.topic}&channel={CHANNEL}")

    def pause(self) -> None:
        """The service gets nothing from now on."""
        self._post(f"/channel/pause?topic={self.topic}&channel={CHANNEL}")

    def unpause(self) -> None:
        """The service gets what is there."""
        self._post(f"/channel/unpause?topic={self.topic}&channel={CHANNEL}")

    def delete(self) -> None:
        """All that is left of it."""
        self._post(f"/topic/delete?topic={self.topic}")

    def put(self, bodies: Sequence[bytes]) -> None:
        """All of them; acknowledged when it returns."""
        with RawClient(self.tcp_address) as client:
            for at in range(0, len(bodies), PLAYS_A_PUB):
                client.publish(self.topic, *bodies[at : at + PLAYS_A_PUB])

    def is_read(self) -> bool:
        """Whether somebody reads the channel."""
        return bool(self._channel()["clients"])

    def is_drained(self) -> bool:
        """Whether every message is finished."""
        found = self._channel()
        return not found["depth"] + found["in_flight_count"] + found["deferred_count"]

    def _channel(self) -> dict[str, Any]:
        url = f"http://{self.http_address}/stats?format=json&topic={self.topic}&channel={CHANNEL}"
        with urllib.request.urlopen(url, timeout=HTTP_TIMEOUT_S) as answer:
            found = json.load(answer)["topics"][0]["channels"][0]
        assert isinstance(found, dict)
        return found

    def _post(self, path: str) -> None:
        request = urllib.request.Request(f"http://{self.http_address}{path}", data=b"", method="POST")
        urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S).close()


def body(video: str) -> bytes:
    """The message of a play, as the producer writes it."""
    return b'{"video_id":"%b"}' % video.encode()


def popular(plays: int, videos: Sequence[str], seed: int) -> list[bytes]:
    """Messages of plays of those videos, the first the most popular, the second half as much, and so on."""
    bodies = [body(video) for video in videos]
    return Random(seed).choices(bodies, [1 / rank for rank in range(1, len(bodies) + 1)], k=plays)
