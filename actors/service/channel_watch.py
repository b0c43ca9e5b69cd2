"""Looks who else reads our channel, at the start and every minute, and says so in the log while it lasts."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ..config import Settings
from ..core.words import counted
from ..sources.readers import named
from .progress import Look

log = logging.getLogger(__name__)

INTERVAL_S = 60.0
FIRST_INTERVAL_S = 1.0  # doubled as long as no nsqd tells it


class ChannelWatch:
    """Looks for others for ever. `look`: makes a fresh look."""

    def __init__(self, settings: Settings, look: Callable[[], Awaitable[Look]]):
        self._channel = f"channel {settings.nsq.channel} of topic {settings.nsq.topic}"
        self._look = look
        self._others = 0

    async def run(self) -> None:
        """Look, and look again."""
        pause_s = FIRST_INTERVAL_S
        while True:
            look = await self._look()
            if any(one.queue is not None for one in look.nsqds):
                self._say(look)
                pause_s = INTERVAL_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, INTERVAL_S)

    def _say(self, look: Look) -> None:
        if look.others:
            who = named(look.named_others) or "nsqd does not tell who"
            log.error(
                "%s on our %s: %s. Each gets a part of the plays, so totals are WRONG "
                "as long as this lasts: stop them, or give each service a channel of its own (nsq.channel)",
                counted(look.others, "consumer of another is", "consumers of others are"),
                self._channel,
                who,
            )
        elif self._others:
            log.info(
                "no others are on our %s any more; plays that they took are not counted here", self._channel
            )
        self._others = look.others
