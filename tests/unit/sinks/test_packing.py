"""A client that asks for gzip and refuses it gets its publishes as they are, and one line says so."""

import asyncio
import logging
import os

from actors.core.dispatcher.attempts import About, Outcome
from actors.core.dispatcher.outbox import Entry, make_batch
from actors.core.triggers import Trigger
from actors.sinks.packing import OFF_S
from tests.support.acting_clients import delivered, http_sink, read_request
from tests.support.virtual_time import run_virtually

WIDE = make_batch("a-service", Trigger.REALTIME, [Entry(os.urandom(16), 7, 1) for _ in range(20)])
URL = "http://127.0.0.1:8080/"


def client(asked, to_gzip, to_plain="200 OK"):
    """A client that asks for gzip in each answer. `asked`: of each request, whether it was in gzip."""

    async def act(reader, writer):
        while True:
            try:
                head, _ = await read_request(reader)
            except asyncio.IncompleteReadError:
                return
            asked.append(b"Content-Encoding" in head)
            status = to_gzip[0] if asked[-1] else to_plain
            answer = f"HTTP/1.1 {status}\r\nAccept-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"
            writer.write(answer.encode())

    return act


def sent(act, count):
    async def attempt():
        return await delivered(http_sink(URL), *[WIDE] * count)

    return run_virtually(attempt, act)


def test_a_refusal_of_the_first_body_in_gzip_is_about_the_gzip_and_turns_it_off(caplog):
    for status in ("400 Bad JSON", "422 No", "415 No"):
        asked = []
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = sent(client(asked, [status]), 5)
        assert asked == [False, True, False, False, False], status
        assert found[1].about is About.MOMENT, "nothing is halved for it"
        assert [one.outcome for one in found if one is not found[1]] == [Outcome.ACCEPTED] * 4
        (record,) = caplog.records
        assert f"refused a body in gzip ({status})" in record.message
        assert "publish.gzip = false" in record.message


def test_a_client_that_has_taken_gzip_refuses_the_content(caplog):
    asked, to_gzip = [], ["200 OK"]

    async def attempt():
        sink = http_sink(URL)
        found = [await sink.deliver(WIDE), await sink.deliver(WIDE)]
        to_gzip[0] = "422 No"
        return [*found, *await delivered(sink, WIDE, WIDE)]

    found = run_virtually(attempt, client(asked, to_gzip))
    assert asked == [False, True, True, True]
    assert [one.about for one in found[2:]] == [About.CONTENT] * 2
    assert not caplog.records


def test_gzip_that_was_refused_is_tried_again_after_an_hour():
    asked, to_gzip = [], ["400 No"]

    async def attempt():
        sink = http_sink(URL)
        for _ in range(3):
            await sink.deliver(WIDE)
        to_gzip[0] = "200 OK"
        await asyncio.sleep(OFF_S)
        await delivered(sink, WIDE, WIDE)

    run_virtually(attempt, client(asked, to_gzip))
    assert asked == [False, True, False, True, True]
