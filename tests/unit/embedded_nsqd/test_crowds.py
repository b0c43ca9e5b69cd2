"""What strangers can make the embedded nsqd hold, do and log."""

import asyncio

from actors.embedded_nsqd import limits
from tests.unit.embedded_nsqd.test_server import http, run, running


async def upload(nsqd, path, declared, body):
    reader, writer = await asyncio.open_connection("127.0.0.1", nsqd.http_port)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {declared}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return reader, writer


def test_uploads_that_do_not_end_hold_few_bytes_together_and_the_oldest_gives_way(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "UPLOADS_BYTES_MAX", 1_000_000)

    async def test():
        async with running(tmp_path) as nsqd:
            body = b"x" * 400_000
            uploads = [await upload(nsqd, "/mpub?topic=t", len(body) + 1, body) for _ in range(3)]
            answer = await uploads[0][0].read()
            assert answer.startswith(b"HTTP/1.1 503 ") and b"TOO_MANY_UPLOADS" in answer
            for reader, writer in uploads[1:]:
                writer.write(b"x")
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\nOK")
            assert await http(nsqd, "POST", "/pub?topic=t", b"1") == (200, b"OK")
            for _, writer in uploads:
                writer.close()

    run(test)


def test_an_upload_that_does_not_end_is_refused_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "BODY_TIMEOUT_S", 0.3)

    async def test():
        async with running(tmp_path) as nsqd:
            reader, writer = await upload(nsqd, "/pub?topic=t", 3, b"ab")
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 408 ") and b'"message"' in answer
            writer.close()

    run(test)
