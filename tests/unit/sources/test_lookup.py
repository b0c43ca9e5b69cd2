"""An nsqlookupd's answer gives the nsqds that it knows, or a failure that says what is wrong."""

import contextlib
import json
import socket
import threading

import pytest

from actors.config import NsqSection, PublishSection, Settings
from actors.sources.lookup import (
    Found,
    ask_lookupd,
    nodes_in,
    nodes_url,
    nsqds_of,
    nsqds_with_topic,
    shown,
    topic_url,
)
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
        answer_of(NODE)[:-5],
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"not HTTP\r\n\r\n",
        b"",
    ],
)
def test_an_odd_answer_is_a_failure_that_names_the_nsqlookupd(answer):
    with lookupd(answer) as address, pytest.raises(Failure, match=f"nsqlookupd {address}.*expected.*/nodes"):
        ask_lookupd(address)


@pytest.mark.parametrize(
    ("address", "nodes", "topic"),
    [
        ("a:4161", "http://a:4161/nodes", "http://a:4161/lookup?topic=a.b"),
        ("[::1]:4161/", "http://[::1]:4161/nodes", "http://[::1]:4161/lookup?topic=a.b"),
        ("https://a", "https://a/nodes", "https://a/lookup?topic=a.b"),
        ("https://a:1/b/?c=d&e", "https://a:1/b/nodes?c=d&e", "https://a:1/b/lookup?c=d&e&topic=a.b"),
    ],
)
def test_an_address_may_have_a_scheme_a_path_and_a_query(address, nodes, topic):
    assert (nodes_url(address), topic_url(address, "a.b")) == (nodes, topic)


def test_neither_a_password_nor_a_query_is_shown():
    assert shown("https://user:secret@a:1/b?token=secret") == "https://…@a:1/b?…"
    assert shown("a:4161") == "a:4161"


def test_an_nsqd_with_a_tombstone_for_one_of_our_topics_is_not_used():
    topics = {"topics": ["plays", "totals"], "tombstones": [False, True]}
    body = json.dumps({"producers": [NODE | topics]}).encode()
    for ours, usable in ((["plays"], True), (["plays", "totals"], False), (["other"], True), ([], True)):
        found = nodes_in(body, "a:4161", ours)
        assert (bool(found.usable), bool(found.tombstoned)) == (usable, not usable)


ODD_NODES = [
    5,
    None,
    {"broadcast_address": "10.0.0.5"},
    {"tcp_port": 4150},
    NODE | {"tcp_port": "4150"},
    NODE | {"tcp_port": 70_000},
    NODE | {"tcp_port": 10**400},
    NODE | {"http_port": -1},
    NODE | {"topics": 5},
    NODE | {"tombstones": ["no"]},
    NODE | {"broadcast_address": None},
    *(
        NODE | {"broadcast_address": host}
        for host in (
            *(
                "",
                " ",
                "a b",
                "a/b",
                "user@10.0.0.5",
                "10.0.0.5#",
                "10.0.0.5?x",
                "a%20b",
                "a\x1b[31m",
                "a\nb",
            ),
            *("10.0.0.5:4150", "[::1]", "::g", "a,b", "a" * 254, "a" * 100_000),
        )
    ),
]


@pytest.mark.parametrize("odd", ODD_NODES, ids=lambda odd: str(odd)[:70])
def test_an_nsqd_that_can_not_be_one_is_left_out_and_said_and_the_others_count(odd):
    body = json.dumps({"producers": [odd, NODE]}).encode()
    nodes = nodes_in(body, "a:4161", [])
    named = nsqds_with_topic(200, body)
    assert nodes.usable == ["10.0.0.5:4150"]
    assert named.found == [Found("10.0.0.5:4150", "10.0.0.5:4151")]
    assert nodes.left_out == named.left_out
    assert nodes.left_out.startswith("1 nsqd that can't be one, the first ")
    assert len(nodes.left_out) < 500


@pytest.mark.parametrize(
    "host", ["a", "a_b-c.example.", "é.example", "127.0.0.1", "::1", "fe80::1%eth0", "a" * 253]
)
def test_a_name_or_an_address_of_a_host_is_used(host):
    body = json.dumps({"producers": [NODE | {"broadcast_address": host}]}).encode()
    assert len(nodes_in(body, "a:4161", []).usable) == 1


def test_if_all_are_left_out_the_failure_says_so():
    with lookupd(answer_of(NODE | {"tcp_port": -1})) as address:
        with pytest.raises(
            Failure, match=r"knows no nsqd \(1 nsqd that can't be one, .*tcp_port.*expected one"
        ):
            ask_lookupd(address)


def test_the_nsqds_of_the_settings_are_those_of_both_lists_each_once():
    with lookupd(answer_of(NODE, NODE | {"tcp_port": 4152})) as address:
        nsq = NsqSection(
            nsqd_tcp_addresses=["a:1", "10.0.0.5:4150"], lookupd_http_addresses=["127.0.0.1:1", address]
        )
        assert nsqds_of(Settings(nsq=nsq, publish=PublishSection(url=""))) == [
            "a:1",
            "10.0.0.5:4150",
            "10.0.0.5:4152",
        ]


def test_if_no_nsqd_is_known_the_reason_of_each_nsqlookupd_is_told():
    nsq = NsqSection(lookupd_http_addresses=["127.0.0.1:1", "127.0.0.1:2"])
    with pytest.raises(Failure, match=r"127.0.0.1:1 does not answer .*; nsqlookupd 127.0.0.1:2 does not"):
        nsqds_of(Settings(nsq=nsq))
