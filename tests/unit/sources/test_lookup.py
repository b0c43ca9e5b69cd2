"""An nsqlookupd's answer gives the nsqds that it knows, or a failure that says what is wrong."""

import contextlib
import json
import socket
import threading

import pytest

from actors.sources.lookup import ask_lookupd
from actors.system.exits import Failure

NODE = {"broadcast_address": "10.0.0.5", "tcp_port": 4150, "http_port": 4151, "topics": ["plays"]}


@contextlib.contextmanager
def lookupd(answer):
    """Answer one request with these bytes. Yields the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):
                connection = listener.accept()[0]
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def http(body):
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def answer_of(*producers):
    return http(json.dumps({"producers": producers}).encode())


def test_the_nsqds_that_it_knows_are_given_as_addresses():
    with lookupd(answer_of(NODE, NODE | {"broadcast_address": "::1", "tcp_port": 4152})) as address:
        assert ask_lookupd(f"http://{address}/") == ["10.0.0.5:4150", "[::1]:4152"]


@pytest.mark.parametrize("body", [b'{"producers": []}', b'{"producers": null}'])
def test_one_that_knows_no_nsqd_is_a_failure(body):
    with lookupd(http(body)) as address, pytest.raises(Failure, match="knows no nsqd, expected one at least"):
        ask_lookupd(address)


@pytest.mark.parametrize(
    "answer",
    [
        http(b"[]"),
        http(b"5"),
        http(b"null"),
        http(b"{}"),
        http(b"<html>"),
        http(b"\xff"),
        http(b""),
        http(b"[" * 100_000),
        http(b'{"producers": 5}'),
        http(b'{"producers": [5]}'),
        answer_of({"broadcast_address": "10.0.0.5"}),
        answer_of({"tcp_port": 4150}),
        answer_of(NODE | {"tcp_port": "4150"}),
        answer_of(NODE | {"tcp_port": 70_000}),
        answer_of(NODE | {"broadcast_address": None}),
        answer_of(NODE)[:-5],
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"not HTTP\r\n\r\n",
        b"",
    ],
)
def test_an_odd_answer_is_a_failure_that_names_the_nsqlookupd(answer):
    with lookupd(answer) as address, pytest.raises(Failure, match=f"nsqlookupd {address}.*expected.*/nodes"):
        ask_lookupd(address)
