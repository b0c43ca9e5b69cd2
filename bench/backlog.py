"""Plays on a queue, real nsqd or embedded, that a service takes when it is let.

Owns what is put there and when the service may have it. Knows the queue by NSQ's protocols alone.
"""

from collections.abc import Sequence
from random import Random
from typing import Self

from actors.cli.launch import Service
from tests.support.queues import QueueHttp, QueueProcess, RawClient
from tests.support.services import facts_of

CHANNEL = "playtally"
PLAYS_A_PUB = 2000
PLAYS_A_VIDEO = 90  # of lone plays: with fewer than 100, a video's are told at once


class Queue:
    """One topic of a queue, and the channel by which it is read."""

    def __init__(
        self, tcp_address: str, http_address: str, topic: str = "plays", channel: str = CHANNEL
    ) -> None:
        self.tcp_address = tcp_address
        self.topic = topic
        self._channel = channel
        self._http = QueueHttp(http_address)

    @classmethod
    def of(cls, process: QueueProcess, channel: str = CHANNEL) -> Self:
        """The topic "plays" of a queue of ours, created."""
        queue = cls(process.tcp_address, process.http_address, channel=channel)
        queue.create()
        return queue

    @classmethod
    def embedded(cls, service: Service) -> Self:
        """The topic "plays" of the queue that a service which runs brings along."""
        facts = facts_of(service)
        return cls(facts["nsqd_tcp_address"], facts["nsqd_http_address"])

    def create(self) -> None:
        """The topic and the channel, as far as they are not there yet."""
        self._http.post(f"/topic/create?topic={self.topic}")
        self._http.post(f"/channel/create?topic={self.topic}&channel={self._channel}")

    def pause(self) -> None:
        """The reader gets nothing from now on."""
        self._http.post(f"/channel/pause?topic={self.topic}&channel={self._channel}")

    def unpause(self) -> None:
        """The reader gets what is there."""
        self._http.post(f"/channel/unpause?topic={self.topic}&channel={self._channel}")

    def delete(self) -> None:
        """All that is left of it."""
        self._http.post(f"/topic/delete?topic={self.topic}")

    def put(self, bodies: Sequence[bytes]) -> None:
        """All of them; acknowledged when it returns."""
        with RawClient(self.tcp_address) as client:
            for at in range(0, len(bodies), PLAYS_A_PUB):
                client.publish(self.topic, *bodies[at : at + PLAYS_A_PUB])

    def is_read(self) -> bool:
        """Whether somebody reads the channel."""
        found = self._http.channel(self.topic, self._channel)
        return found is not None and bool(found["clients"])

    def unfinished(self) -> int:
        """How many messages are not finished."""
        return self._http.unfinished(self.topic, self._channel)

    def is_drained(self) -> bool:
        """Whether every message is finished."""
        return not self.unfinished()


def body(video: str) -> bytes:
    """The message of a play, as the producer writes it."""
    return b'{"video_id":"%b"}' % video.encode()


def popular(plays: int, videos: Sequence[str], seed: int) -> list[bytes]:
    """Messages of plays of those videos, the first the most popular, the second half as much, and so on."""
    bodies = [body(video) for video in videos]
    return Random(seed).choices(bodies, [1 / rank for rank in range(1, len(bodies) + 1)], k=plays)
