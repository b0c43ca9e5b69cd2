"""Hostile HTTP requests: client, admin and embedded queue go on answering, in bounded memory."""

import contextlib
import gzip
import json
import random
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fuzzing import RUNS, memory_mb
from tests.support.patience import PATIENCE_S
from tests.support.services import ANY_PORTS, UNHURRIED, Service

SEED = 3
PIECE = bytes(1 << 20)
PIECES = 64  # the size of an endless request, in MB, if the server reads all of it
GROWTH_MB_MAX = 48
SLOW_CONNECTIONS = 100
SERVERS = {  # the child whose memory is checked, the name of its address, the attacked path, an honest path
    "client": ("client", "client_address", "/plays", "/totals"),
    "admin": ("", "admin_address", "/status", "/healthz"),
    "queue": ("nsqd", "nsqd_http_address", "/pub?topic=t", "/ping"),
}


def post(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def endless(start: bytes, piece: bytes = PIECE) -> Iterator[bytes]:
    yield start
    for _ in range(PIECES * len(PIECE) // len(piece)):
        yield piece


def attacks(path: str) -> dict[str, Iterator[bytes] | list[bytes]]:
    """Requests, each sent on its own connection, piece by piece, until the server reads no more."""
    bomb = gzip.compress(PIECE * 64)
    as_json = "Content-Type: application/json"
    return {
        "one endless line": endless(b"GET /", b"a" * len(PIECE)),
        "one endless header": endless(b"GET / HTTP/1.1\r\nHost: ", b"a" * len(PIECE)),
        "headers without end": endless(b"GET / HTTP/1.1\r\n", b"X-Y: z\r\n" * 10_000),
        "a great body of the announced length": endless(post(path, as_json, f"Content-Length: {1 << 40}")),
        "a body of great chunks": endless(
            post(path, as_json, "Transfer-Encoding: chunked"), b"100000\r\n" + PIECE + b"\r\n"
        ),
        "one chunk without end": endless(post(path, "Transfer-Encoding: chunked") + b"ffffffffffff\r\n"),
        "a line of chunk without end": endless(post(path, "Transfer-Encoding: chunked"), b"0" * len(PIECE)),
        "chunks of one byte": [post(path, "Transfer-Encoding: chunked"), b"1\r\nx\r\n" * 10_000],
        "a bomb": [post(path, as_json, "Content-Encoding: gzip", f"Content-Length: {len(bomb)}"), bomb],
        "a length below zero": [post(path, "Content-Length: -1"), b"x"],
        "a length in words": [post(path, "Content-Length: many"), b"x"],
        "two lengths": [post(path, "Content-Length: 1", "Content-Length: 2"), b"xx"],
        "length and chunks": [post(path, "Content-Length: 1", "Transfer-Encoding: chunked"), b"0\r\n\r\n"],
        "a chunk of no size": [post(path, "Transfer-Encoding: chunked"), b"-1\r\n\r\n"],
        "a wrong type": [post(path, "Content-Type: text/plain", "Content-Length: 2"), b"{}"],
        "a body of deep arrays": [post(path, as_json, "Content-Length: 60000"), b"[" * 60_000],
        "no method": [b" / HTTP/1.1\r\n\r\n"],
        "a method of bytes": [b"\xff\xfe / HTTP/1.1\r\n\r\n"],
        "an unknown method": [b"BREW / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"],
        "an invalid path": [b"GET http://[ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"],
        "a path of bytes": [b"GET /%00/../\xff%ff?%zz=\xff&a=%ff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"],
        "a path upwards": [b"GET /../../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"],
        "no HTTP": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)],
        "another HTTP": [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
        "a great many requests, unread": [b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1000],
    }


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    path: Path = tmp_path_factory.mktemp("http")
    with Service(path / "state", [*ANY_PORTS, *UNHURRIED, "publish.stdout=false"]) as service:
        yield service


class Server:
    """One of SERVERS in a service: its address, its paths, its peak memory."""

    def __init__(self, service: Service, name: str):
        self.child, key, self.path, self._honest = SERVERS[name]
        self._service = service
        self.address = service.facts()[key]

    def connect(self) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), PATIENCE_S)

    def answers(self) -> bool:
        with urllib.request.urlopen(f"http://{self.address}{self._honest}", timeout=PATIENCE_S) as answer:
            return answer.status == 200

    def memory_mb(self) -> float:
        children = {child["id"]: child["pid"] for child in self._service.status()["children"]}
        return memory_mb(children.get(self.child, self._service.process.pid))

    def incarnation(self) -> int:
        found = [c["incarnation"] for c in self._service.status()["children"] if c["id"] == self.child]
        return found[0] if found else 1

    def bear(self, pieces, ends=True) -> bytes:
        """Send all pieces on one connection. Returns the start of the answer; b"" if the server hangs up.

        `ends`: also shut down our side for writing. A server that sees that before its answer may hang up.
        """
        with self.connect() as connection, contextlib.suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
            if ends:
                with contextlib.suppress(OSError):  # the server may have reset the connection
                    connection.shutdown(socket.SHUT_WR)
            return connection.recv(1 << 16)
        return b""


@pytest.mark.parametrize("name", SERVERS)
def test_whatever_is_said_an_honest_request_is_answered(service, name):
    server = Server(service, name)
    before_mb = server.memory_mb()
    for what, pieces in attacks(server.path).items():
        server.bear(pieces)
        assert server.answers(), what
        grown_mb = server.memory_mb() - before_mb
        assert grown_mb < GROWTH_MB_MAX, f"{what}: {grown_mb:.0f} MB more"
    assert server.incarnation() == 1
    assert "Traceback" not in service.log(), service.log()


@pytest.mark.parametrize("name", SERVERS)
def test_any_bytes_are_borne(service, name):
    server, chance = Server(service, name), random.Random(SEED)
    words = [
        b"GET ",
        b"POST ",
        b"/",
        b" HTTP/1.1",
        b"\r\n",
        b"\r\n\r\n",
        b"Host: localhost",
        b"Content-Length: ",
        b"9",
        b":",
        b"Transfer-Encoding: chunked",
        b"\0",
        b"\xff",
        server.path.encode(),
        b"Expect: 100-continue",
    ]
    for _ in range(40 * RUNS):
        with server.connect() as connection, contextlib.suppress(ConnectionError):
            said = chance.choices([*words, chance.randbytes(3)], k=chance.randrange(20))
            connection.sendall(b"".join(said))
    assert server.answers()
    assert server.incarnation() == 1
    assert "Traceback" not in service.log(), service.log()


@pytest.mark.parametrize("name", SERVERS)
def test_many_slow_requests_keep_nobody_from_being_answered(service, name):
    server = Server(service, name)
    before_mb = server.memory_mb()
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(server.connect()) for _ in range(SLOW_CONNECTIONS)]
        head = b" HTTP/1.1\r\nContent-Length: 50000\r\n"
        for text in (b"POST ", server.path.encode(), head, b"A: b\r\n\r\n", b"x"):
            for one in slow:
                with contextlib.suppress(ConnectionError):
                    one.sendall(text)
            assert server.answers()
    assert server.memory_mb() - before_mb < GROWTH_MB_MAX


def test_what_is_sent_with_gzip_is_refused_unopened(service):
    body = gzip.compress(json.dumps({"batch": "b", "trigger": "drain", "videos": []}).encode())
    server = Server(service, "client")
    answer = server.bear(
        [
            post(
                "/plays",
                "Content-Type: application/json",
                "Content-Encoding: gzip",
                f"Content-Length: {len(body)}",
            ),
            body,
        ],
        ends=False,
    )
    assert answer.startswith(b"HTTP/1.1 400") and b"is not JSON" in answer
