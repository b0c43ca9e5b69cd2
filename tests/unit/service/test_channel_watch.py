"""Who else reads the channel is said at the start, every minute, and when it is over. Virtual time."""

import asyncio
import logging

from actors.config import Settings
from actors.core.stats import NsqdStats
from actors.service.channel_watch import ChannelWatch
from actors.service.progress import Look, NsqdLook
from actors.sources.nsqd_http import QueueStats
from actors.sources.readers import Reader
from tests.support.virtual_time import run_virtually

NSQD = NsqdStats("127.0.0.1:4150", "", connected=True, ready_count=1, in_flight=0)
OTHER = Reader("playtally-b", "host-b", "10.0.0.7:5000", "playtally")


def look(*others: Reader, told: bool = True) -> Look:
    queue = QueueStats(clients=1 + len(others), others=others) if told else None
    return Look([NsqdLook(NSQD, queue)], 1, {})


def watched(looks: dict[float, Look], until_s: float, caplog) -> list[tuple[float, str]]:
    """What is logged, and when. `looks`: by the time from which on a look sees that."""
    said: list[tuple[float, str]] = []

    async def scene():
        loop = asyncio.get_running_loop()

        class Handler(logging.Handler):
            def emit(self, record):
                said.append((loop.time(), f"{record.levelname} {record.getMessage()}"))

        async def fresh() -> Look:
            return looks[max(at for at in looks if at <= loop.time())]

        handler = Handler()
        logging.getLogger("actors.service.channel_watch").addHandler(handler)
        watching = asyncio.ensure_future(ChannelWatch(Settings(), fresh).run())
        await asyncio.sleep(until_s)
        watching.cancel()
        logging.getLogger("actors.service.channel_watch").removeHandler(handler)

    with caplog.at_level(logging.INFO):
        run_virtually(scene)
    return said


def test_others_are_named_at_the_start_and_every_minute_and_once_it_is_said_that_they_are_gone(caplog):
    said = watched({0: look(OTHER), 130: look()}, 400, caplog)
    assert [at for at, _ in said] == [0, 60, 120, 180]
    for _, text in said[:3]:
        assert text.startswith("ERROR 1 consumer of another is on our channel playtally of topic plays: ")
        assert "10.0.0.7:5000 (host-b, playtally)" in text
        assert "nsq.channel" in text
    assert said[3][1].startswith("INFO no others are on our channel playtally of topic plays any more")


def test_others_that_come_later_are_said_within_a_minute(caplog):
    assert [at for at, _ in watched({0: look(), 61: look(OTHER, OTHER)}, 121, caplog)] == [120]


def test_an_nsqd_that_has_not_told_yet_is_asked_again_soon_and_then_less_often(caplog):
    assert [at for at, _ in watched({0: look(told=False), 2.5: look(OTHER)}, 30, caplog)] == [3]
    assert [at for at, _ in watched({0: look(told=False), 64: look(OTHER)}, 150, caplog)] == [123]


def test_where_nobody_else_reads_nothing_is_said(caplog):
    assert watched({0: look()}, 1000, caplog) == []
