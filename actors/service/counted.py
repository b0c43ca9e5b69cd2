"""Tells the reference client how many plays are counted, for its page: publishes don't say it.

The counters say it with each answer to a ping, every second or two. What has changed is handed on at once.
"""

import asyncio

from ..config import Settings
from ..core import counted
from ..core.shards import is_counter
from ..core.stats import CounterStats, decode
from ..supervision.application import Application
from ..supervision.states import State
from ..supervision.worker import Worker
from ..tree import CLIENT

ANSWER_TIMEOUT_S = 10


class CountedTeller:
    """Hears the counters, and tells the client; nothing where there is none."""

    def __init__(self, application: Application[Settings]) -> None:
        self._application = application
        self._told = (0, -1)  # an incarnation of the client, and what it knows
        self._telling: asyncio.Future[bytes | None] | None = None

    def told(self, worker: Worker) -> None:
        """A child has told its stats."""
        if is_counter(worker.spec.id) and (self._telling is None or self._telling.done()):
            self._tell(self._application.workers())

    def _tell(self, workers: list[Worker]) -> None:
        clients = [one for one in workers if one.spec.id == CLIENT and one.state is State.RUNNING]
        counters = [one for one in workers if is_counter(one.spec.id)]
        heard = [decode(one.stats) for one in counters if one.stats]
        if not clients or len(heard) < len(counters):
            return
        plays = sum(one.counted for one in heard if isinstance(one, CounterStats))
        told = clients[0].incarnation, plays
        if told != self._told:
            self._told = told
            request = counted.encode(counted.CountedCall(plays))
            self._telling = asyncio.ensure_future(clients[0].call(request, ANSWER_TIMEOUT_S))
