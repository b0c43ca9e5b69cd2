"""What a service on a terminal shows of its work: a line now and then, in the log, while anything changes.

Only people need it: with a pipe, a file, or a log in JSON there is none. Where the log goes elsewhere and
stdout is a terminal, the line is there.
"""

import asyncio
import logging
import os
import time
from typing import Any, NamedTuple

from ..config import Settings, SinkKind
from ..core.words import counted
from ..supervision.log_format import LogFormat, format_in_force
from ..supervision.log_writer import LogHandler
from .status import ServiceView, status

log = logging.getLogger(__name__)

INTERVAL_S = 5.0
STDOUT, STDERR = 1, 2


class Work(NamedTuple):
    """What was done, and what is to do. `behind`: messages on the queue, or not counted yet."""

    plays: int
    publishes: int
    pending: int
    behind: int


def work_in(shown: dict[str, Any]) -> Work:
    """Return the work in a status."""
    return Work(
        plays=shown["plays"]["counted"],
        publishes=shown["publishes"]["total"],
        pending=shown["pending_videos"],
        behind=shown["nsq"]["depth"] + shown["in_flight_messages"],
    )


def line(before: Work, now: Work, seconds: float) -> str:
    """Return the line. `seconds`: from the one to the other."""
    plays_per_s = (now.plays - before.plays) / seconds
    publishes_per_minute = (now.publishes - before.publishes) / seconds * 60
    return (
        f"{counted(now.plays, 'play')} counted ({plays_per_s:,.0f} a second), "
        f"{counted(now.publishes, 'publish', 'publishes')} ({publishes_per_minute:,.0f} a minute), "
        f"{counted(now.pending, 'video')} pending, {counted(now.behind, 'message')} behind"
    )


def terminal(settings: Settings) -> int | None:
    """Return the descriptor of the terminal that shows the line: that of the log, else stdout; None if none.

    Where publishes are confirmed by stdout, it is for them alone.
    """
    if format_in_force() is not LogFormat.TEXT:
        return None
    if os.isatty(STDERR):
        return STDERR
    return STDOUT if os.isatty(STDOUT) and settings.publish.sink_kind is not SinkKind.STDOUT else None


async def run(service: ServiceView) -> None:
    """Show the line for ever, or never."""
    descriptor = terminal(service.application.options)
    if descriptor is None or not log.isEnabledFor(logging.INFO):
        return
    before, began_s = Work(0, 0, 0, 0), time.monotonic()
    handler = _handler(descriptor)
    while True:
        await asyncio.sleep(INTERVAL_S)
        now, now_s = work_in(status(service, await service.looks.fresh())), time.monotonic()
        if now != before:
            _say(line(before, now, now_s - began_s), handler)
        before, began_s = now, now_s


def _handler(descriptor: int) -> LogHandler | None:
    """What writes to a terminal that is not the log's; None for the log. Neither ever blocks."""
    formatter = logging.getLogger().handlers[0].formatter
    return None if descriptor == STDERR or formatter is None else LogHandler(formatter, descriptor=descriptor)


def _say(text: str, handler: LogHandler | None) -> None:
    if handler is None:
        log.info("%s", text)
    else:
        handler.note(text, logging.INFO, __name__)
