"""Which consumers of a channel are ours."""

import json
import socket

import pytest
from msgspec.structs import replace

from actors.sources.readers import (
    NAMES_MAX,
    OLD_S,
    OurEnds,
    Reader,
    client_id_of,
    is_anothers,
    named,
    others_of,
)

HERE = socket.gethostname()
OURS = Reader("playtally-a", HERE, "127.0.0.1:1000", "playtally")


ELSEWHERE = Reader("playtally-a", f"not-{HERE}", "10.0.0.9:1", "playtally")
STRANGER = Reader(HERE, HERE, "127.0.0.1:2000", "pynsq/0.9.1")
SOON_S, LATE_S = OLD_S / 2, OLD_S


def alike(remote_address, connect_ts):
    """A reader with our id from our machine."""
    return replace(OURS, remote_address=remote_address, connect_ts=connect_ts)


def copies(*readers, ends=("127.0.0.1:1000",), connected_s=SOON_S, consumers=1):
    """Where the copies of our service connect from, as is found at an nsqd with these readers."""
    ours = OurEnds(HERE, None if ends is None else frozenset(ends), connected_s, consumers)
    found = others_of(readers, "playtally-a", ours)
    assert all(one.is_copy for one in found)
    return [one.remote_address for one in found]


def test_a_reader_with_another_id_or_from_another_machine_is_anothers():
    ours = OurEnds(HERE, frozenset(["127.0.0.1:1000"]), LATE_S)
    found = others_of([OURS, ELSEWHERE, STRANGER], "playtally-a", ours)
    assert found == (STRANGER, replace(ELSEWHERE, is_copy=True))
    assert str(found[1]).endswith("a service on a copy of our state")
    assert others_of([OURS], "", ours) == (OURS,)  # nothing was ever counted here, so none of them is ours


def test_the_machine_is_the_one_on_which_the_service_runs():
    assert others_of([ELSEWHERE], "playtally-a", OurEnds(ELSEWHERE.hostname)) == ()


def test_a_connection_with_our_id_that_came_after_ours_is_a_copys_at_once():
    assert copies(alike("127.0.0.1:1000", 100), alike("127.0.0.1:7", 101)) == ["127.0.0.1:7"]


@pytest.mark.parametrize("connect_ts", [99, 100])
def test_one_that_came_before_ours_may_be_a_killed_consumers_until_nsqd_would_have_noticed(connect_ts):
    both = alike("127.0.0.1:7", connect_ts), alike("127.0.0.1:1000", 100)
    assert copies(*both, connected_s=SOON_S) == []
    assert copies(*both, connected_s=LATE_S) == ["127.0.0.1:7"]


def test_both_ends_of_a_connection_that_was_replaced_during_the_look_are_ours():
    both = alike("127.0.0.1:1000", 100), alike("127.0.0.1:1001", 200)
    assert copies(*both, ends=["127.0.0.1:1000", "127.0.0.1:1001"]) == []


def test_where_ports_are_mapped_one_connection_is_ours_whichever_it_is():
    both = alike("172.17.0.1:5", 99), alike("172.17.0.1:6", 100)
    assert copies(*both, connected_s=SOON_S) == []
    assert copies(*both, connected_s=LATE_S) == ["172.17.0.1:5"]
    assert copies(both[0], connected_s=LATE_S) == []


def test_without_a_connection_of_ours_nothing_tells_whose_they_are():
    assert copies(alike("127.0.0.1:7", 99), alike("127.0.0.1:8", 100), connected_s=None) == []


def test_where_nobody_knows_our_ends_one_connection_is_ours():
    both = alike("127.0.0.1:7", 99), alike("127.0.0.1:8", 100)
    assert copies(*both, ends=None) == ["127.0.0.1:7"]
    assert copies(both[0], ends=None) == []


def test_each_of_several_consumers_has_a_connection_of_its_own():
    three = [
        alike(f"127.0.0.1:{port}", connect_ts) for port, connect_ts in ((1000, 100), (1001, 200), (7, 150))
    ]
    ends = ["127.0.0.1:1000", "127.0.0.1:1001"]
    assert copies(*three[:2], ends=ends, connected_s=LATE_S, consumers=2) == []
    assert copies(*three, ends=ends, connected_s=SOON_S, consumers=2) == [], "a killed consumer's, maybe"
    assert copies(*three, ends=ends, connected_s=LATE_S, consumers=2) == ["127.0.0.1:7"]
    assert copies(*three, ends=[], connected_s=LATE_S, consumers=2) == ["127.0.0.1:1000"], "ports are mapped"
    assert copies(*three, ends=None, consumers=2) == ["127.0.0.1:1000"]
    assert copies(*three[:2], ends=None, consumers=2) == []
    assert copies(*three, ends=ends, connected_s=None, consumers=2) == [], (
        "one has none: it may be its old one"
    )


@pytest.mark.parametrize(
    ("readers", "is_our_port", "is_anothers_http"),
    [
        ([], True, False),
        ([], False, True),
        ([OURS], False, False),  # we read there, so ports are mapped on the way
        ([STRANGER], False, True),
        ([STRANGER], True, False),
        ([alike("here:1", 0)], False, False),
        ([alike("here:2", 0)], True, True),  # our connection to another nsqd
        ([alike("here:2", 0)], False, True),
        ([alike("here:1", 0), alike("here:2", 0)], True, False),
    ],
)
def test_the_http_of_an_nsqd_is_known_by_our_connection_and_else_by_its_port(
    readers, is_our_port, is_anothers_http
):
    assert is_anothers(readers, "playtally-a", "here:1", {"here:2"}, is_our_port) is is_anothers_http


@pytest.mark.parametrize("content", [None, b"", b"[1]", b'{"state": 5}', b"\xff"])
def test_without_a_state_there_is_no_client_id(tmp_path, content):
    if content is not None:
        (tmp_path / "ledgers.json").write_bytes(content)
    assert client_id_of(str(tmp_path)) == ""


def test_the_client_id_is_made_of_the_states_id(tmp_path):
    (tmp_path / "ledgers.json").write_text(json.dumps({"state": "0f" * 16, "shards": 2}))
    assert client_id_of(str(tmp_path)) == f"playtally-{'0f' * 16}"


def test_many_readers_are_named_in_part():
    assert named([OURS]) == f"127.0.0.1:1000 ({HERE}, playtally)"
    assert named([OURS] * (NAMES_MAX + 2)).endswith(", 2 more")
