"""What `check` says of an nsqd whose answer to IDENTIFY is odd: one line, cut, and no traceback."""

import asyncio
import json

import pytest

from actors.cli.checks.finding import TEXT_MAX, Verdict, works
from actors.cli.checks.nsqd import check_nsqd
from actors.config import NsqSection, Settings
from actors.sources.security import PLAIN
from tests.support.hostile_nsqd import frame

HUGE = 10**400


def identified(**answer):
    return json.dumps({"version": "1.3.0", "max_rdy_count": 2500} | answer).encode()


ODD = {
    "nested deep": b"[" * 10_000,
    "no JSON": b"{",
    "null": b"null",
    "a huge timeout": identified(msg_timeout=HUGE),
    "a huge limit": identified(msg_timeout=1, max_msg_timeout=HUGE),
    "a huge RDY": identified(max_rdy_count=HUGE),
    "no RDY": identified(max_rdy_count=0),
}


def found_at(answer):
    writers = []

    async def serve(reader, writer):
        writers.append(writer)
        writer.write(frame(0, answer) + frame(1, b"E_INVALID cannot CLS in current state"))

    async def scene():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            found, _ = await check_nsqd(Settings(nsq=NsqSection()), PLAIN, address)
            for writer in writers:
                writer.transport.abort()
            await asyncio.sleep(0)
            return found

    return asyncio.run(scene())


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD.keys())
def test_an_odd_answer_fails_in_words(answer):
    found = found_at(answer)
    assert found.verdict is Verdict.FAILS
    assert found.found.startswith("no nsqd at 127.0.0.1:")
    assert len(found.found) <= TEXT_MAX + 1


def test_a_version_forges_no_line_and_is_cut():
    found = found_at(identified(version="1\r\nworks  all fine \x1b[31m" + "x" * 500_000))
    assert r"1\r\nworks  all fine \x1b[31m" in found.found
    assert len(found.found) <= TEXT_MAX + 1


def test_what_is_checked_is_shown_in_the_same_way():
    assert works("nsqd a\nb", "fine").what == r"nsqd a\nb"
