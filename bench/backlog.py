"""Plays on a queue, real nsqd or embedded, that wait until the benchmark lets the service read them.

Owns which plays are put there and when the service may read them. Uses NSQ's protocols alone.
"""

from collections.abc import Sequence
from random import Random
from typing import Self

from actors.cli.launch import Service
from tests.support.queues import QueueHttp, QueueProcess, RawClient
from tests.support.services import facts_of

CHANNEL = "playtally"
PLAYS_A_PUB = 2000
PLAYS_A_VIDEO = 90  # of lone plays: below 100 plays, each total of a video is published at once


class Queue:
    """One topic of a queue, and the channel on which the service reads it."""

    def __init__(
        self, tcp_address: str, http_address: str, topic: str = "plays", channel: str = CHANNEL
    ) -> None:
        self.tcp_address = tcp_address
        self.topic = topic
        self._channel = channel
        self._http = QueueHttp(http_address)

    @classmethod
    def of(cls, process: QueueProcess, channel: str = CHANNEL) -> Self:
        """Create the topic "plays" on a queue that the benchmark started."""
        queue = cls(process.tcp_address, process.http_address, channel=channel)
        queue.create()
        return queue

    @classmethod
    def embedded(cls, service: Service) -> Self:
        """The topic "plays" of the embedded queue of a running service."""
        facts = facts_of(service)
        return cls(facts["nsqd_tcp_address"], facts["nsqd_http_address"])

    def create(self) -> None:
        """Create the topic and the channel if they do not exist yet."""
        self._http.post(f"/topic/create?topic={self.topic}")
        self._http.post(f"/channel/create?topic={self.topic}&channel={self._channel}")

    def pause(self) -> None:
        """From now on the queue gives the reader nothing."""
        self._http.post(f"/channel/pause?topic={self.topic}&channel={self._channel}")

    def unpause(self) -> None:
        """From now on the queue gives the reader its messages."""
        self._http.post(f"/channel/unpause?topic={self.topic}&channel={self._channel}")

    def delete(self) -> None:
        """Delete the topic with its messages."""
        self._http.post(f"/topic/delete?topic={self.topic}")

    def put(self, bodies: Sequence[bytes]) -> None:
        """Publish these messages; nsqd has acknowledged all of them when this returns."""
        with RawClient(self.tcp_address) as client:
            for at in range(0, len(bodies), PLAYS_A_PUB):
                client.publish(self.topic, *bodies[at : at + PLAYS_A_PUB])

    def is_read(self) -> bool:
        """Whether any client is subscribed to the channel."""
        found = self._http.channel(self.topic, self._channel)
        return found is not None and bool(found["clients"])

    def unfinished(self) -> int:
        """How many messages are not finished."""
        return self._http.unfinished(self.topic, self._channel)

    def is_drained(self) -> bool:
        """Whether every message is finished."""
        return not self.unfinished()


def body(video: str) -> bytes:
    """The body of a play's message, as the producer writes it."""
    return b'{"video_id":"%b"}' % video.encode()


def popular(plays: int, videos: Sequence[str], seed: int) -> list[bytes]:
    """Messages of plays of these videos. The video at rank n, from 1, gets 1/n of the plays of the first."""
    bodies = [body(video) for video in videos]
    return Random(seed).choices(bodies, [1 / rank for rank in range(1, len(bodies) + 1)], k=plays)
