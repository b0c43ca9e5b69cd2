"""Takes a sample of the service's figures each ten seconds, for its history."""

import asyncio
import time
from collections.abc import Callable

from ..supervision.loop import until_next
from ..tree import groups_to_poll
from .history import SPANS, sample_of
from .progress import Look
from .status import ServiceView, status

INTERVAL_S = float(SPANS["hour"].step_s)


async def run(service: ServiceView, clock_s: Callable[[], float] = time.time) -> None:
    """Sample for ever, for `service.history`. `clock_s`: seconds since 1970."""
    history = service.history
    history.open()
    writing: asyncio.Task[None] | None = None
    try:
        while True:
            # At the tick of the other timers: the pings that are due go out in the same moment.
            await asyncio.sleep(until_next(INTERVAL_S, time.monotonic()))
            look = await service.looks.fresh()
            sample = sample_of(status(service, look), _known(service, look))
            # In a thread: a file system may hang.
            writing = asyncio.ensure_future(asyncio.to_thread(history.add, sample, clock_s()))
            await asyncio.shield(writing)
    finally:
        if writing is None or writing.done():
            history.close()


def _known(service: ServiceView, look: Look) -> set[str]:
    """Which of the actors have all told their figures since the start: see `sample_of`."""
    consumers, counters, dispatchers = groups_to_poll(service.application.options)
    known = {"consumer"} if look.heard.keys() >= set(consumers) else set()
    if service.figures.children >= set(counters):
        known.add("counters")
    if service.figures.children >= set(dispatchers):
        known.add("dispatcher")
    return known
