"""Continuous plays whose exact number is known at the end, whatever happens to the queue.

Each batch (one MPUB) has a witness: one play of a video that is in no other batch. If a batch got no answer,
it may be on the queue or not. It counts if its witness was counted, because the queue takes an MPUB as a
whole. So it is known for each play whether the totals must have it.
"""

import contextlib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from tests.support.patience import PATIENCE_S
from tests.support.queues import RawClient

TOPIC = "plays"
BATCHES_PER_S = 100
PLAYS_A_BATCH = 20
HOT_VIDEOS = 12
QUIET_VIDEOS = 400
HOT_SHARE = 0.9
PAUSE_S = 0.05


class Batch(NamedTuple):
    """Plays by video, and the witness: the video that only this batch has."""

    plays: Counter[str]
    witness: str


class Load:
    """A producer in its own thread."""

    def __init__(self, address: Callable[[], str], seed: int):
        """`address`: returns the queue's present "host:port"; may raise `OSError` while there is no queue."""
        self.acknowledged: list[Batch] = []
        self.unanswered: list[Batch] = []
        self._address = address
        self._chance = Random(seed)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._produce, daemon=True)
        self._hot, self._quiet = self._videos(HOT_VIDEOS), self._videos(QUIET_VIDEOS)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def plays(self) -> int:
        """The number of acknowledged plays so far."""
        return len(self.acknowledged) * PLAYS_A_BATCH

    def stop(self) -> None:
        """Stop after the batch on its way has its answer, or its connection is lost."""
        self._stopped.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the load did not end"

    def expected(self, totals: dict[str, int]) -> Counter[str]:
        """The right totals, given which witnesses are in `totals`."""
        taken = [batch for batch in self.unanswered if totals.get(batch.witness)]
        expected: Counter[str] = Counter()
        for batch in self.acknowledged + taken:
            expected.update(batch.plays)
        return expected

    def _produce(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(OSError, EOFError):
                with RawClient(self._address()) as queue:
                    while not self._stopped.is_set():
                        if not self._put(queue):
                            break
                        time.sleep(1 / BATCHES_PER_S)
            self._stopped.wait(PAUSE_S)

    def _put(self, queue: RawClient) -> bool:
        """Put one batch. Returns whether the queue acknowledged it."""
        batch = self._batch()
        bodies = [b'{"video_id": "%b"}' % video.encode() for video in batch.plays.elements()]
        self._chance.shuffle(bodies)
        try:
            queue.publish(TOPIC, *bodies)
        except (OSError, EOFError, AssertionError):  # the queue is gone, or answered with an error
            self.unanswered.append(batch)
            return False
        self.acknowledged.append(batch)
        return True

    def _batch(self) -> Batch:
        hot = [self._chance.random() < HOT_SHARE for _ in range(PLAYS_A_BATCH - 1)]
        (witness,) = self._videos(1)
        plays = Counter(self._chance.choice(self._hot if one else self._quiet) for one in hot)
        return Batch(plays + Counter([witness]), witness)

    def _videos(self, count: int) -> list[str]:
        return [str(uuid.UUID(int=self._chance.getrandbits(128), version=4)) for _ in range(count)]
