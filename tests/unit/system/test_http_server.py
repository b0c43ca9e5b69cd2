"""What a listener bears: crowds that say nothing, requests that do not end."""

import asyncio
import contextlib
import socket
import urllib.request

import pytest
import tornado.web
from tornado.netutil import bind_sockets

from actors.system import http_server
from actors.system.crowd import Crowd, most_of
from actors.system.http_server import BoundedHTTPServer, OwnHandler
from tests.support.patience import PATIENCE_S

MOST = 8
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Hello(OwnHandler):
    def get(self):
        self.write({"hello": True})

    def post(self):
        self.write({"length": len(self.request.body)})


def with_server(test, **limits):
    """Run a coroutine function with the port of a server that takes few connections."""

    async def run():
        server = BoundedHTTPServer(tornado.web.Application([("/", Hello)]), section="admin", **limits)
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        try:
            await asyncio.wait_for(test(sockets[0].getsockname()[1]), PATIENCE_S)
        finally:
            server.stop()
            await server.close_all_connections()

    asyncio.run(run())


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(http_server, "connections_max", lambda: MOST)


def get(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S) as answer:
        return answer.status


def test_a_silent_crowd_locks_nobody_out_and_one_line_says_who_it_is(few, caplog):
    async def test(port):
        with contextlib.ExitStack() as crowd:
            for _ in range(3 * MOST):
                crowd.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
                assert await asyncio.to_thread(get, port) == 200
        lines = [one for one in caplog.messages if "connections, the most that it takes" in one]
        assert len(lines) == 1
        assert f"127.0.0.1:{port} has {MOST} connections" in lines[0]
        assert f"{MOST} of them from 127.0.0.1" in lines[0]

    with_server(test)


def test_one_that_is_busy_keeps_its_place(few):
    async def test(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na")
        with contextlib.ExitStack() as crowd:
            for _ in range(3 * MOST):
                crowd.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
                assert await asyncio.to_thread(get, port) == 200
            writer.write(b"b")
            assert b'{"length": 2}' in await reader.readuntil(b"}")
        writer.close()

    with_server(test)


def test_a_crowd_whose_requests_do_not_end_locks_nobody_out(few):
    async def test(port):
        with contextlib.ExitStack() as crowd:
            for _ in range(3 * MOST):
                one = crowd.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
                one.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na")
                await asyncio.sleep(0.01)  # it is taken, and its head read
            assert await asyncio.to_thread(get, port) == 200

    with_server(test, body_timeout_s=PATIENCE_S)


@pytest.mark.parametrize("host", ["localhost", "another"])  # an answer, a refusal
def test_a_crowd_that_reads_no_answer_locks_nobody_out(few, host):
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()

    async def test(port):
        with contextlib.ExitStack() as crowd:
            for _ in range(2 * MOST):
                one = crowd.enter_context(socket.socket())
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                one.connect(("127.0.0.1", port))
                one.setblocking(False)
                with contextlib.suppress(OSError):
                    while one.send(request * 1000):  # until nobody reads them any more
                        await asyncio.sleep(0.01)
            assert await asyncio.to_thread(get, port) == 200

    with_server(test)


def test_one_that_never_asks_is_closed_and_one_that_has_asked_may_wait(monkeypatch):
    monkeypatch.setattr(http_server, "FIRST_REQUEST_TIMEOUT_S", 0.3)

    async def test(port):
        asking, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await asking.readuntil(b"}")
        silent, silent_writer = await asyncio.open_connection("127.0.0.1", port)
        assert await silent.read() == b""
        writer.write(REQUEST)
        assert b"200 OK" in await asking.readuntil(b"}")
        writer.close()
        silent_writer.close()

    with_server(test, idle_connection_timeout=300)


def test_a_body_that_does_not_end_is_refused_in_words():
    async def test(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in (b"abc", b"ab"):
            writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n" + body)
            if body == b"abc":
                assert b'{"length": 3}' in await reader.readuntil(b"}")
        answer = await reader.read()  # to its end: the connection is closed
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the body is not here after 0.3 s" in answer
        writer.close()

    with_server(test, body_timeout_s=0.3)


def test_the_one_that_has_been_idle_longest_gives_way():
    crowd = Crowd()
    assert crowd.longest_idle() is None
    assert [crowd.waits(name) for name in "abc"] == [True] * 3
    crowd.works("a")
    assert crowd.longest_idle() == "b"
    assert crowd.waits("a") is False
    crowd.gone("b")
    assert crowd.longest_idle() == "c"
    crowd.works("c")
    assert crowd.longest_idle() == "a"
    crowd.hangs("c")
    assert crowd.longest_idle() == "a"
    crowd.works("a")
    assert crowd.longest_idle() == "c"
    crowd.works("c")
    crowd.works("x")
    crowd.hangs("x")
    assert crowd.longest_idle() is None
    assert most_of(["1", "2", "2"]) == "2 of them from 2"
