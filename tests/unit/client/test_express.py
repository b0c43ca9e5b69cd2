"""Publishes that come in one piece: they are answered as all others, and committed together."""

import contextlib
import http.client
import json
import re
import socket
import uuid

import pytest

from actors.client.handlers import PlaysHandler
from actors.client.store import ClientStore
from actors.system import http_stream
from actors.system.exits import StoreFailure
from actors.system.http_stream import Stream
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.served_client import Served

A, B = (str(uuid.UUID(int=number)) for number in (1, 2))


@pytest.fixture
def handled(monkeypatch):
    """The bodies that tornado's handler has taken."""
    bodies, real = [], PlaysHandler.post

    def post(handler):
        bodies.append(bytes(handler._body))
        return real(handler)

    monkeypatch.setattr(PlaysHandler, "post", post)
    return bodies


def content(batch, plays, video=A):
    rows = [{"video_id": video, "plays": plays, "arrived_at_ns": 1}]
    return json.dumps({"batch": batch, "trigger": "overdue", "videos": rows}).encode()


def request(body, *more, first="POST /plays HTTP/1.1", host="localhost", length=None):
    length = len(body) if length is None else length
    lines = [first, f"Host: {host}", "Content-Type: application/json", f"Content-Length: {length}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextlib.contextmanager
def connected(client):
    """A connection on which a request was answered already."""
    with socket.create_connection(("127.0.0.1", client.port), PATIENCE_S) as end:
        end.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer(end)[0] == 200
        yield end


def answer(end):
    """Status, headers and body."""
    found = http.client.HTTPResponse(end)
    found.begin()
    return found.status, dict(found.getheaders()), found.read()


def ask(end, *came):
    for piece in came:
        end.sendall(piece)
    return answer(end)


def in_two(body):
    """A request that tornado has to read, because it says more than is needed."""
    return request(body, "Connection: keep-alive")


def test_a_token_is_asked_for_on_the_short_way_too(tmp_path, handled):
    right, wrong = "a-token-of-the-test", "another-of-the-test"
    tokens = [right]
    with Served(tmp_path / "client", lambda: tokens[-1]) as client, connected(client) as end:
        for lines in ([], [f"Authorization: Bearer {wrong}"], ["Authorization: Bearer "]):
            status, headers, body = ask(end, request(content("k", 1), *lines))
            assert (status, headers["Www-Authenticate"]) == (401, "Bearer")
            assert "Authorization: Bearer <token>" in json.loads(body)["error"]
        assert client.client.audit.report()["publishes"]["total"] == 0
        assert ask(end, request(content("k", 1), f"Authorization: Bearer {right}"))[0] == 200
        tokens.append(wrong)
        assert ask(end, request(content("l", 2), f"Authorization: Bearer {right}"))[0] == 401
        assert ask(end, request(content("l", 2), f"Authorization: bearer {wrong}"))[0] == 200
        assert handled == []


def without_date(found):
    status, headers, body = found
    assert headers.pop("Date").endswith(" GMT")
    return status, headers, body


def test_a_publish_is_answered_the_same_whether_tornado_reads_it_or_not(client, handled):
    taken = [content("k1", 1), content("k1", 1), content("k1", 2), content("k2", 3)]
    other = [one.replace(b'"k', b'"o').replace(A.encode(), B.encode()) for one in taken]
    with connected(client) as end:
        whole = [without_date(ask(end, request(one))) for one in taken]
        assert not handled
        read = [without_date(ask(end, in_two(one))) for one in other]
        assert handled == other
    assert [status for status, _, _ in whole] == [200, 200, 409, 200]
    assert whole == [
        (status, headers, body.replace(b"o1", b"k1").replace(b"o2", b"k2")) for status, headers, body in read
    ]
    report = client.client.audit.report()
    assert (report["duplicates"], report["promises_broken_by_promise"]["one_content_a_key"]) == (2, 2)


@pytest.mark.parametrize(
    "sent",
    [
        request(content("k", 1), "Expect: 100-continue"),
        request(content("k", 1), "Connection: close"),
        request(content("k", 1), "Host: localhost"),
        request(content("k", 1), "Origin: http://localhost"),
        request(content("k", 1), "Sec-Fetch-Site: cross-site"),
        request(content("k", 1), "Transfer-Encoding: chunked"),
        request(content("k", 1), "Content-Length: 9"),
        request(content("k", 1), " folded: x"),
        request(content("k", 1), "Accept"),
        request(content("k", 1), "Accept: \u00e9"),
        request(content("k", 1), "Idempotency-Key: other"),
        request(content("k", 1), host="evil.example"),
        request(content("k", 1), host="::::"),
        request(content("k", 1), first="POST /plays HTTP/1.0"),
        request(content("k", 1), first="GET /plays HTTP/1.1"),
        request(content("k", 1), first="POST /totals HTTP/1.1"),
        request(content("k", 1), "User-Agent: " + "x" * 20_000),
        request(b"no publish"),
        request(content("k", 1), length=5),
        request(content("k", 1)) + b"G",
        request(content("k", 1)).replace(b"application/json", b"text/plain"),
    ],
    ids=lambda sent: sent.decode("latin1").partition("\r\n\r\n")[0][-40:],
)
def test_what_has_anything_unusual_is_answered_as_on_a_new_connection(client, sent):
    """There tornado reads the first request, whatever it is."""
    with socket.create_connection(("127.0.0.1", client.port), PATIENCE_S) as new:
        expected = ask(new, sent)
    with connected(client) as end:
        status, _, body = ask(end, sent)
    assert status == expected[0]
    assert body == expected[2].replace(b'"duplicate":false', b'"duplicate":true')


def test_tornado_reads_the_first_publish_of_a_connection_and_those_that_come_in_pieces(client, handled):
    with socket.create_connection(("127.0.0.1", client.port), PATIENCE_S) as end:
        for number in range(1, 4):
            assert ask(end, request(content(f"k{number}", number)))[0] == 200
        assert handled == [content("k1", 1)]
        whole = request(content("k4", 4))
        end.sendall(whole[:-9])
        wait_until(lambda: len(client.client.together._here) == 1, "the head to come")
        assert ask(end, whole[-9:])[0] == 200
        assert handled == [content("k1", 1), content("k4", 4)]
        assert ask(end, request(content("k5", 5)))[0] == 200
    assert len(handled) == 2
    assert client.client.audit.totals() == {A: 5}


def test_tornado_reads_one_again_when_it_has_read_none_for_long(client, handled, monkeypatch):
    monkeypatch.setattr(http_stream, "_WHOLE_S", 0.0)
    with connected(client) as end:
        for number in range(1, 4):
            assert ask(end, request(content(f"k{number}", number)))[0] == 200
    assert len(handled) == 3


def test_publishes_in_one_piece_are_answered_in_order_when_the_sender_does_not_wait(client):
    with connected(client) as end:
        for number in range(1, 6):
            end.sendall(request(content(f"k{number}", number)))
        came = b""
        while came.count(b"duplicate") < 5:
            came += end.recv(10_000)
    assert re.findall(rb'"batch":"(k.)"', came) == [b"k1", b"k2", b"k3", b"k4", b"k5"]


def test_a_body_that_looks_like_a_publish_is_none(client, monkeypatch):
    """A page of another site may send any text. Its browser may send the head first, which names the page."""
    body = request(content("smuggled", 1))
    head = request(b"", "Origin: http://evil.example", length=len(body)).replace(
        b"application/json", b"text/plain"
    )
    real = Stream.read_from_fd

    def read_from_fd(stream, buffer):
        count = real(stream, buffer)
        if count == len(head):
            end.sendall(body)  # it comes right after the head is read
        return count

    with connected(client) as end:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        monkeypatch.setattr(Stream, "read_from_fd", read_from_fd)
        status, _, found = ask(end, head)
    assert status == 403
    assert "evil.example" in json.loads(found)["error"]
    assert client.client.audit.totals() == {}


def test_a_publish_that_comes_while_another_request_is_answered_waits(client):
    with connected(client) as end, connected(client) as other:
        end.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: client.client.streams.count() == 1, "the stream to begin")
        end.sendall(request(content("k1", 1, A)))
        assert ask(other, request(content("k2", 1, B)))[0] == 200
        came = b""
        while came.count(b"event: ") < 2:
            came += end.recv(10_000)
    assert came.count(b"HTTP/1.1 200 OK") == 1
    assert client.client.audit.totals() == {B: 1}


def test_publishes_that_come_together_are_one_commit(client, handled, monkeypatch):
    commits, real = [], ClientStore.commit

    def commit(store, taken, *others):
        commits.append(len(taken))
        real(store, taken, *others)

    monkeypatch.setattr(ClientStore, "commit", commit)
    with contextlib.ExitStack() as stack:
        ends = [stack.enter_context(connected(client)) for _ in range(8)]

        def send():
            for number, end in enumerate(ends, 1):
                end.sendall(request(content(f"k{number}", number, str(uuid.UUID(int=number)))))

        client.call(send)  # in the client's own loop, so that it reads none of them before all are there
        assert [answer(end)[0] for end in ends] == [200] * 8
    assert (commits, handled) == ([8], [])
    report = client.client.audit.report()
    assert report["together"] == {"8": 8}
    assert client.client.audit.totals() == {str(uuid.UUID(int=number)): number for number in range(1, 9)}


def test_publishes_that_the_disk_refuses_are_not_taken_and_come_again(client, monkeypatch, caplog):
    def full(*arguments):
        raise StoreFailure("client.sqlite cannot be written: database or disk is full")

    real = ClientStore.commit
    with connected(client) as end:
        monkeypatch.setattr(ClientStore, "commit", full)
        status, headers, body = ask(end, request(content("k1", 1)))
        assert (status, headers["Content-Type"]) == (503, "application/json")
        assert "disk is full" in json.loads(body)["error"]
        monkeypatch.setattr(ClientStore, "commit", real)
        assert json.loads(ask(end, request(content("k1", 1)))[2]) == {"batch": "k1", "duplicate": False}
    assert "disk is full" in caplog.text
