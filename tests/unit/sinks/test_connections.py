"""Connections to a client over HTTP: how many there are, when one is used again, which answers are lawful.
One attempt is one request.
"""

import asyncio
import contextlib

import pytest

from actors.core.dispatcher.attempts import Outcome
from actors.core.dispatcher.outbox import Entry, make_batch
from actors.core.triggers import Trigger
from actors.sinks import Delivery, connection, http
from actors.sinks.connection import ANSWER_HEAD_BYTES_MAX
from tests.support.acting_clients import (
    BATCH,
    OK,
    answering,
    client_that,
    delivered,
    deliveries_to,
    http_sink,
    outcome_of,
    read_request,
    recording,
    reset,
    timed,
)
from tests.support.patience import PATIENCE_S
from tests.support.virtual_time import run_virtually

BATCHES = [make_batch("a-service", Trigger.REALTIME, [Entry(bytes([n]) * 16, n, n)]) for n in range(1, 9)]
ACCEPTED = Delivery(Outcome.ACCEPTED, status="200")


# One attempt is one request


@pytest.mark.parametrize("ends_by", ["closing", "a reset"])
def test_an_attempt_on_a_kept_connection_that_ends_without_an_answer_is_one_request(ends_by):
    asked = []

    async def act(reader, writer):  # answers the first request of each connection, and ends at the second
        asked.append(await read_request(reader))
        writer.write(OK)
        with contextlib.suppress(EOFError):
            asked.append(await read_request(reader))
        if ends_by == "a reset":
            await reset(writer)

    outcomes = [one.outcome for one in deliveries_to(act, 5)]
    yes, unknown = Outcome.ACCEPTED, Outcome.UNKNOWN
    assert outcomes == [yes, unknown, yes, unknown, yes]
    assert len(asked) == 5


def test_a_batch_leaves_in_the_call_that_begins_it_if_a_kept_connection_is_idle():
    async def act(reader, writer):
        while await read_request(reader):
            writer.write(OK)

    async def attempts():
        async with client_that(act) as port:
            sink, found = http_sink(f"http://127.0.0.1:{port}/"), []
            assert not sink.begin(BATCHES[0], 0, found.append)
            assert await sink.deliver(BATCHES[0]) == ACCEPTED
            assert sink.begin(BATCHES[1], 0, found.append)
            assert not sink.begin(BATCHES[2], 0, found.append), "the one connection is busy"
            while not found:
                await asyncio.sleep(0)
            sink.close()
            return found

    assert asyncio.run(attempts()) == [ACCEPTED]


def test_an_answer_is_judged_by_its_own_bytes_though_the_one_before_was_the_same_or_almost():
    other = OK.replace(b" 200 ", b" 503 ")
    answers = [OK, OK, other, OK, OK[:-1], OK]

    async def act(reader, writer):
        for answer in answers:
            await read_request(reader)
            writer.write(answer)
            if answer == OK[:-1]:
                await asyncio.sleep(0.01)
                writer.write(OK[-1:])

    yes = Outcome.ACCEPTED
    outcomes = [one.outcome for one in deliveries_to(act, len(answers))]
    assert outcomes == [yes, yes, Outcome.REFUSED, yes, yes, yes]


def test_a_kept_connection_that_the_client_has_closed_is_not_used():
    asked = []

    async def act(reader, writer):
        asked.append(await read_request(reader))
        writer.write(OK)
        writer.close()

    async def attempt():
        async with client_that(act) as port:
            sink = http_sink(f"http://127.0.0.1:{port}/")
            found = []
            for batch in BATCHES:
                found.append(await sink.deliver(batch))
                while sink._idle and sink._idle[0][1].usable:
                    await asyncio.sleep(0)
            sink.close()
            return found

    assert asyncio.run(attempt()) == [ACCEPTED] * len(BATCHES)
    assert len(asked) == len(BATCHES)


# Several at once


def at_once(act, *batches):
    """Deliver these batches at once, then one more. What became of them."""

    async def attempt():
        async with client_that(act) as port:
            sink = http_sink(f"http://127.0.0.1:{port}/")
            found = await asyncio.gather(*(sink.deliver(batch) for batch in batches))
            return [*found, *await delivered(sink, BATCH)]

    return asyncio.run(attempt())


def test_batches_at_once_have_a_connection_each_and_later_ones_use_one_of_those():
    asked, there = [], asyncio.Event()

    async def act(reader, writer):
        with contextlib.suppress(EOFError):
            while True:
                asked.append((writer, *await read_request(reader)))
                if len(asked) == len(BATCHES):
                    there.set()
                await there.wait()  # all are on their way before the first is answered
                writer.write(OK)

    assert at_once(act, *BATCHES) == [ACCEPTED] * (len(BATCHES) + 1)
    connections = [one for one, *_ in asked]
    assert len(set(connections)) == len(BATCHES)
    assert connections[-1] in connections[:-1]


def test_each_batch_gets_its_own_answer_in_whatever_order_they_come():
    waiting = []

    async def act(reader, writer):
        with contextlib.suppress(EOFError):
            while True:
                _, body = await read_request(reader)
                waiting.append((body, writer))
                if len(waiting) == len(BATCHES):
                    for body, answered in reversed(waiting):
                        number = next(n for n, batch in enumerate(BATCHES) if batch.key.encode() in body)
                        answered.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % (400 + number))
                        await answered.drain()
                elif len(waiting) > len(BATCHES):
                    writer.write(OK)

    found = at_once(act, *BATCHES)
    assert [one.why for one in found[:-1]] == [f"it answered {400 + n} No" for n in range(len(BATCHES))]


def test_a_batch_that_hangs_holds_up_no_other():
    asked = []

    async def act(reader, writer):
        with contextlib.suppress(EOFError):
            while True:
                asked.append(await read_request(reader))
                if BATCHES[0].key.encode() not in asked[-1][1]:
                    writer.write(OK)

    async def attempt():
        async with client_that(act) as port:
            sink = http_sink(f"http://127.0.0.1:{port}/")
            hung = asyncio.create_task(sink.deliver(BATCHES[0]))
            found = [await sink.deliver(batch) for batch in BATCHES[1:]]
            assert not hung.done()
            hung.cancel()
            sink.close()
            return found

    assert asyncio.run(attempt()) == [ACCEPTED] * (len(BATCHES) - 1)


# When a connection is used again


CLOSED_AFTER = {
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "close among others": b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "another answer behind it": OK + b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    "bytes behind it": OK + b"x",
    "a body where none can be": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
    "a keep-alive of no time": b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("answer", CLOSED_AFTER.values(), ids=CLOSED_AFTER)
def test_a_connection_is_not_used_again_after(answer):
    asked = []
    deliveries, _ = timed(recording(asked, answer), 3)
    assert [one.outcome for one in deliveries] == [Outcome.ACCEPTED] * 3, (
        "what came for another request is no answer"
    )
    assert len({one for one, *_ in asked}) == 3


def test_a_connection_of_http_1_0_that_the_client_keeps_is_used_again():
    asked = []
    keeps = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"
    assert timed(recording(asked, keeps), 3)[0] == [ACCEPTED] * 3
    assert len({one for one, *_ in asked}) == 1


@pytest.mark.parametrize(
    ("hint", "idle_s", "connections"),
    [
        (b"", http.IDLE_S_MAX - 1, 1),
        (b"", http.IDLE_S_MAX + 1, 2),
        (b"Keep-Alive: timeout=5\r\n", 3, 1),
        (b"Keep-Alive: timeout=5\r\n", 4.5, 2),
        (b"Keep-Alive: timeout=900, max=100\r\n", http.IDLE_S_MAX + 1, 2),
        (b"Keep-Alive: timeout=" + b"9" * 5000 + b"\r\n", http.IDLE_S_MAX - 1, 1),
    ],
)
def test_a_connection_that_is_idle_for_long_is_not_used_again(hint, idle_s, connections):
    asked = []

    async def attempt():
        sink = http_sink("http://127.0.0.1:8080/")
        first = await sink.deliver(BATCH)
        await asyncio.sleep(idle_s)
        return [first, *await delivered(sink, BATCH)]

    answer = b"HTTP/1.1 200 OK\r\n" + hint + b"Content-Length: 0\r\n\r\n"
    assert run_virtually(attempt, recording(asked, answer)) == [ACCEPTED] * 2
    assert len({one for one, *_ in asked}) == connections


@pytest.mark.parametrize(
    ("head_after_s", "outcome", "ends_s"),
    [(None, Outcome.UNKNOWN, 17.0), (2.0, Outcome.ACCEPTED, 9.5), (5.0, Outcome.ACCEPTED, 12.5)],
    ids=["no head", "no body", "no body of a head that came after the first request's time"],
)
def test_each_request_of_a_connection_has_its_own_time_for_head_and_body(
    head_after_s, outcome, ends_s, monkeypatch
):
    monkeypatch.setattr(connection, "ANSWER_BODY_PATIENCE_S", 0.5)
    asked = []

    async def act(reader, writer):
        asked.append(await read_request(reader))
        writer.write(OK)
        asked.append(await read_request(reader))  # at 7 s
        if head_after_s is not None:
            await asyncio.sleep(head_after_s)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        await reader.read()  # until the sink closes it

    async def attempt():
        sink = http_sink("http://127.0.0.1:8080/", timeout_s=10.0)
        assert await sink.deliver(BATCH) == ACCEPTED
        await asyncio.sleep(7)
        (second,) = await delivered(sink, BATCH)
        return second.outcome, asyncio.get_running_loop().time()

    assert run_virtually(attempt, act) == (outcome, ends_s)
    assert len(asked) == 2


def test_connections_that_are_not_needed_run_out():
    async def attempt():
        sink = http_sink("http://127.0.0.1:8080/")
        await asyncio.gather(*(sink.deliver(batch) for batch in BATCHES))
        before = len(sink._idle)
        for _ in range(20):
            await asyncio.sleep(http.IDLE_S_MAX / 10)
            await sink.deliver(BATCH)
        after = len(sink._idle)
        sink.close()
        return before, after

    assert run_virtually(attempt, recording([], OK)) == (len(BATCHES), 1)


def test_a_sink_that_is_closed_keeps_no_connection_of_a_batch_that_was_on_its_way():
    ended = asyncio.Event()

    async def attempt():
        asked = asyncio.Event()

        async def act(reader, writer):
            await read_request(reader)
            asked.set()
            await closed.wait()
            writer.write(OK)
            await reader.read()
            ended.set()

        closed = asyncio.Event()
        async with client_that(act) as port:
            sink = http_sink(f"http://127.0.0.1:{port}/")
            delivery = asyncio.create_task(sink.deliver(BATCH))
            await asked.wait()
            sink.close()
            closed.set()
            found = await delivery
            await asyncio.wait_for(ended.wait(), PATIENCE_S)
            return found

    assert asyncio.run(attempt()) == ACCEPTED


# What is lawful


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAWFUL = {
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    "an empty reason": b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
    "a reason in Latin-1": b"HTTP/1.1 200 \xe9t\xe9\r\nContent-Length: 0\r\n\r\n",
    "no length": b"HTTP/1.1 200 OK\r\n\r\nok",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nok",
    "a later version": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "names in lower case": b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n",
    "spaces and tabs": b"HTTP/1.1 200 OK\r\nX: \t \r\nContent-Length:\t 0 \t\r\n\r\n",
    "an empty header": b"HTTP/1.1 200 OK\r\nX:\r\nContent-Length: 0\r\n\r\n",
    "a folded header": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\tc\r\nContent-Length: 0\r\n\r\n",
    "bytes above ASCII in a header": b"HTTP/1.1 200 OK\r\nX: \xe9\xff\r\nContent-Length: 0\r\n\r\n",
    "lines without CR": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "an empty line before it": b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n" + OK,
    "an interim answer of HTTP/1.0": b"HTTP/1.0 100 Continue\r\n\r\n" + OK,
    "the last of the interim answers": b"HTTP/1.1 199 Wait\r\n\r\n" + OK,
    "an interim answer that closes": b"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n" + OK,
    "an offer of another protocol": b"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "a length beside chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n"
    + CHUNKED[17:]
    + b"1\r\nx\r\n0\r\n\r\n",
    "another coding before chunks": CHUNKED.replace(b"chunked", b"gzip, Chunked") + b"1\r\nx\r\n0\r\n\r\n",
    "chunk extensions": CHUNKED + b'1;a=b;c="d e"\r\nx\r\n0\r\n\r\n',
    "spaces after a chunk's size": CHUNKED + b"1  \r\nx\r\n0  \r\n\r\n",
    "trailers": CHUNKED + b"1\r\nx\r\n0\r\nX: y\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("answer", LAWFUL.values(), ids=LAWFUL)
@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "in single bytes"])
def test_a_lawful_answer_is_believed(answer, in_pieces):
    pieces = [answer[place : place + 1] for place in range(len(answer))] if in_pieces else [answer]
    assert outcome_of(answering(*pieces)) == ACCEPTED


def test_a_body_that_comes_with_a_long_head_is_all_read_and_the_connection_is_used_again():
    asked, size = [], ANSWER_HEAD_BYTES_MAX // 2
    head = b"HTTP/1.1 200 OK\r\nX: %b\r\nContent-Length: %d\r\n\r\n" % (b"x" * size, size)
    found = deliveries_to(recording(asked, head + b" " * size), 5)
    assert [one.outcome for one in found] == [Outcome.ACCEPTED] * 5
    assert len({connection for connection, *_ in asked}) == 1


def test_trailers_mean_nothing():
    answer = CHUNKED.replace(b"200 OK", b"503 Busy") + b"0\r\nRetry-After: 5\r\n\r\n"
    assert outcome_of(answering(answer)) == Delivery(
        Outcome.REFUSED, "it answered 503 Busy", busy=True, server_error=True, answer="503 Busy", status="503"
    )


def test_a_client_that_switches_to_another_protocol_gave_no_answer():
    switches = b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nxxx"
    delivery = outcome_of(answering(switches))
    assert delivery == Delivery(Outcome.UNKNOWN, "the answer is no HTTP (it switches to another protocol)")


def test_a_client_that_speaks_first_gave_no_answer():
    async def act(reader, writer):
        writer.write(OK)
        await reader.read()

    async def attempt():
        async with client_that(act) as port:
            sink = http_sink(f"http://127.0.0.1:{port}/")
            found = await sink._route.connect(asyncio.get_running_loop().time() + PATIENCE_S)
            while found.usable:
                await asyncio.sleep(0)
            await asyncio.sleep(0)  # now it is closed
            await asyncio.sleep(0)
            with pytest.raises(ValueError, match="it spoke before it was asked"):
                await found.ask(b"POST / HTTP/1.1\r\n\r\n", 0)

    asyncio.run(attempt())


def test_nothing_that_a_client_says_puts_a_line_of_its_own_into_the_log():
    answer = b"HTTP/1.1 302 \x1b[31mred\r\nLocation: /a\x1b]0;X\x07\x85b\r\nContent-Length: 0\r\n\r\n"
    delivery = outcome_of(answering(answer))
    assert delivery.outcome in (Outcome.REFUSED, Outcome.UNKNOWN)
    assert delivery.why.isprintable()


def test_a_look_at_a_client_that_does_not_let_itself_be_reached_ends_in_time():
    async def look():
        sink = http_sink("http://127.0.0.1:1/", timeout_s=3.0)
        with pytest.raises(TimeoutError):
            await sink.reach()
        return asyncio.get_running_loop().time()

    assert run_virtually(look) == 3.0
