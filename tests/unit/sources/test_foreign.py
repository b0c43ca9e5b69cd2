"""Answers that no nsqd gives: reader and client say what came, what was expected, and what to do."""

import asyncio
import json
import socket

import pytest

from actors.config import NsqSection
from actors.sources.client import NsqdClient
from actors.sources.connection import BatchConnection
from actors.sources.limits import Limits
from actors.sources.offers import Offers
from actors.sources.security import Security
from tests.support.hostile_nsqd import HostileNsqd, frame, wait_for_end

AGREED = frame(0, json.dumps({"max_rdy_count": 2500, "tls_v1": True}).encode())
TLS_ALERT = bytes.fromhex("15030100020246")
WEB = b"HTTP/1.1 400 Bad Request\r\n\r\n"
CLEAR = "it agreed to TLS and then answered in the clear, expected TLS"
TLS_AT_ONCE = "it answers with TLS from the first byte, and nsqd begins TLS only after IDENTIFY"


def script_of(first, second=b"", ends=False):
    """Answer IDENTIFY with `first`, and what comes then with `second`."""

    def script(connection: socket.socket) -> None:
        heard = b""
        while b"}" not in heard:
            heard += connection.recv(1 << 16)
        connection.sendall(first)
        if second or ends:
            _ = connection.recv(1 << 16)
            connection.sendall(second)
        if not ends:
            wait_for_end(connection)

    return script


async def why_refused(address, security):
    """Why neither client nor reader has a connection."""
    reasons = []
    with pytest.raises((OSError, EOFError, ValueError)) as told:
        await NsqdClient.open(address, security, {})
    reasons.append(str(told.value))
    host, _, port = address.partition(":")
    connection = BatchConnection(host, int(port), Offers(5), Limits(), security, host)
    with pytest.raises(OSError) as told:
        await connection.open()
    return [*reasons, str(told.value)]


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize(
    ("script", "text"),
    [
        (script_of(WEB), "a web server answers; expected nsqd's TCP port, often 4150"),
        (script_of(TLS_ALERT), TLS_AT_ONCE),
        (script_of(bytes(4)), "a frame of 0 bytes, so no nsqd answers; expected nsqd's TCP port"),
        (script_of(b"\xff" * 4), "a frame of -1 bytes, so no nsqd answers; expected nsqd's TCP port"),
    ],
    ids=["a web server", "TLS", "zeros", "ones"],
)
def test_an_answer_that_is_no_frame_is_said_to_be_what_it_is(script, text, tls):
    with HostileNsqd("", [script] * 2) as nsqd:
        for reason in asyncio.run(why_refused(nsqd.address, Security(NsqSection(tls=tls)))):
            assert text in reason


@pytest.mark.parametrize(
    ("script", "texts"),
    [
        (script_of(AGREED + frame(0, b"OK")), [CLEAR, CLEAR]),
        (script_of(AGREED, frame(0, b"OK")), [CLEAR, CLEAR]),
        (script_of(AGREED, frame(1, b"E_INVALID")), [CLEAR, CLEAR]),
        (script_of(AGREED, WEB), [CLEAR, CLEAR]),
        (script_of(AGREED, ends=True), ["it ended the connection", "it closed the connection"]),
        (script_of(frame(0, b"OK")), ["it has no TLS, and nsq.tls = true"] * 2),
        (script_of(frame(0, b"{}")), ["it has no TLS, and nsq.tls = true"] * 2),
    ],
    ids=["OK at once", "OK", "an error", "a web server", "the end", "an old nsqd", "no TLS"],
)
def test_an_nsqd_that_does_not_begin_the_tls_it_was_asked_for_is_said_to_do_that(script, texts):
    with HostileNsqd("", [script] * 2) as nsqd:
        reasons = asyncio.run(why_refused(nsqd.address, Security(NsqSection(tls=True))))
        assert [text in reason for text, reason in zip(texts, reasons, strict=True)] == [True, True], reasons
        assert not [reason for reason in reasons if "_ssl.c" in reason]
