"""Tells the reference client how many plays are counted, for its page: publishes don't say it.

The counters say it with each answer to a ping, every second or two. What has changed is handed on at once.
"""

import asyncio

from ..config import Settings
from ..core import counted
from ..core.stats import CounterStats, decode
from ..supervision.application import Application
from ..supervision.states import State
from ..supervision.worker import Worker
from ..tree import CLIENT

ANSWER_TIMEOUT_S = 10


class CountedTeller:
    """Hears the counters, and tells the client. It does nothing if there is no client."""

    def __init__(self, application: Application[Settings]) -> None:
        self._application = application
        self._plays: dict[str, int] = {}  # by counter
        self._told = (0, -1)  # an incarnation of the client, and what it knows
        self._telling: asyncio.Future[bytes | None] | None = None

    def told(self, worker: Worker) -> None:
        """A child has told its stats."""
        stats = decode(worker.stats) if worker.stats else None
        if isinstance(stats, CounterStats):
            self._plays[worker.spec.id] = stats.counted
            if len(self._plays) == self._application.options.counters.shards:
                self._tell(sum(self._plays.values()))

    def _tell(self, plays: int) -> None:
        if self._telling is not None and not self._telling.done():
            return  # the next answer to a ping tells it
        for client in self._application.workers():
            told = client.incarnation, plays
            if client.spec.id == CLIENT and client.state is State.RUNNING and told != self._told:
                self._told = told
                request = counted.encode(counted.CountedCall(plays))
                self._telling = asyncio.ensure_future(client.call(request, ANSWER_TIMEOUT_S))
