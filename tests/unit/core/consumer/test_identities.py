"""Under which identities the messages of several nsqds are known."""

import json

import pytest

from actors.core.columns import unpack_ids
from actors.core.consumer.frames import BadMessage, Parsed
from actors.core.consumer.identities import Identities, Identity, Kind, Sharing
from actors.core.consumer.rules import ConsumerRules
from actors.core.consumer.terms import Terms
from actors.core.effects import Send
from actors.core.identity import node_id_of, rows_by_node
from actors.core.messages import Plays, Rejected


def identities(*nsqds):
    """The identities of connections 1, 2, …, each with what its nsqd tells."""
    one = Identities()
    for connection, (node_id, host) in enumerate(nsqds, 1):
        one.connected(connection, f"10.0.0.{connection}:4150/plays", node_id, host)
    return one


def test_an_nsqd_that_shares_its_node_id_with_none_is_known_by_it():
    one = identities((5, "a"), (6, "a"))
    assert one.source(1, 5) == "10.0.0.1:4150 #5 #5@a/plays"
    assert one.source(2, 6) == "10.0.0.2:4150 #6 #6@a/plays"
    assert one.of(1) == Identity(Kind.NODE, 5, "a")
    assert one.sharing() == []


def test_two_of_one_host_are_told_apart_by_address():
    one = identities((5, "a"), (5, "a"))
    assert [one.source(number, 5) for number in (1, 2)] == ["10.0.0.1:4150/plays", "10.0.0.2:4150/plays"]
    assert one.of(1) == Identity(Kind.ADDRESS, 5, "a")
    assert one.sharing() == [Sharing(5, Kind.ADDRESS, (1, 2))]


def test_two_hosts_with_one_node_id_are_told_apart_by_host_name():
    one = identities((5, "a"), (5, "b"), (5, "a.b-c_d"))
    assert one.source(1, 5) == "10.0.0.1:4150 #5@a/plays"
    assert one.source(3, 5) == "10.0.0.3:4150 #5@a.b-c_d/plays"
    assert one.sharing() == [Sharing(5, Kind.NODE_AND_HOST, (1, 2, 3))]


def test_one_whose_host_is_not_known_may_be_on_any():
    one = identities((5, "a"), (5, ""))
    assert [one.of(number).kind for number in (1, 2)] == [Kind.ADDRESS, Kind.ADDRESS]


def test_nsqds_that_have_told_no_node_id_yet_share_none():
    one = identities((None, "a"), (None, "a"))
    assert one.of(1) == Identity(Kind.ADDRESS, None, "a")
    assert one.sharing() == []


@pytest.mark.parametrize("host", ["a b", "a/b", "#1", "", "a" * 254, "ä", "a\n"])
def test_a_host_that_can_have_no_such_name_is_no_identity(host):
    one = identities((5, host))
    assert one.source(1, 5) == "10.0.0.1:4150 #5/plays"
    one.retire(["#5"])
    assert one.source(1, 5) == "10.0.0.1:4150/plays"


def test_what_two_had_at_once_is_no_identity_while_one_of_them_is_away_and_for_the_next_consumer_neither():
    one = identities((5, "a"), (5, "a"))
    one.disconnected(1)
    assert one.source(2, 5) == "10.0.0.2:4150/plays"
    following = identities()
    following.retire(one.retired)
    following.connected(1, "10.0.0.2:4150/plays", 5, "a")
    assert following.source(1, 5) == "10.0.0.2:4150/plays"
    assert following.sharing() == [], "only one of them is there"


def test_an_nsqd_that_comes_back_shares_nothing_with_its_lost_connection():
    one = identities((5, "a"))
    one.disconnected(1)
    one.connected(2, "10.0.0.9:4150/plays", 5, "b")
    assert one.source(2, 5) == "10.0.0.9:4150 #5 #5@b/plays"


def test_without_http_the_messages_tell_the_node_id():
    one = identities((None, ""), (None, ""))
    assert one.of(1) == Identity()
    assert one.source(1, 5) == "10.0.0.1:4150 #5/plays"
    assert one.of(1) == Identity(Kind.NODE, 5)
    assert one.source(2, 5) == "10.0.0.2:4150/plays"
    assert one.source(1, 5) == "10.0.0.1:4150/plays"


def test_messages_of_another_node_are_known_by_that_and_the_nsqd_that_gives_them_does_not_make_them():
    one = identities((5, "a"), (6, "b"))
    assert one.source(2, 5) == "10.0.0.2:4150 #5/plays", "a data folder of the first one, restored"
    assert one.of(1).kind is one.of(2).kind is Kind.NODE


def test_a_new_name_is_in_every_text():
    one = identities((5, "a"))
    one.source(1, 5)
    one.renamed(1, "10.0.0.1:4150 nsqd:4150/plays")
    assert one.source(1, 5) == "10.0.0.1:4150 nsqd:4150 #5 #5@a/plays"


def message_id(node_id, tick=1, sequence=0):
    return (tick << 22 | node_id << 12 | sequence).to_bytes(8, "big")


def test_the_node_id_of_an_id_is_its_bits_12_to_21():
    assert [node_id_of(message_id(node, 2**41 - 1, 4095)) for node in (0, 617, 1023)] == [0, 617, 1023]
    ids = b"".join([message_id(5), message_id(5, 2, 7), message_id(6), message_id(5), message_id(1023)])
    assert [(node, rows.tolist()) for node, rows in rows_by_node(ids)] == [
        (5, [0, 1, 3]),
        (6, [2]),
        (1023, [4]),
    ]
    assert rows_by_node(ids[:16]) == [(5, None)]


def test_a_read_with_messages_of_two_nodes_goes_to_the_counter_in_two_parcels():
    rules = ConsumerRules(1, 2500)
    rules.connected(1, "a:4150/plays", Terms(node_id=6, host="h"), 0)
    parsed, ids = Parsed(), [message_id(node, tick) for tick, node in enumerate((5, 6, 5, 6))]
    for number, one in enumerate(ids):
        parsed.plays.ids += one.hex().encode()
        parsed.plays.videos += bytes([number]) * 16
        parsed.plays.arrived_ns.append(number)
    parsed.bad = [BadMessage(one.hex().encode(), 1, b"?", "no play") for one in ids[:2]]
    effects = rules.received(1, parsed, 0, 0)
    sent = [one.message for one in effects if isinstance(one, Send)]
    assert [(one.source, list(unpack_ids(one.ids)), one.videos[::16]) for one in sent] == [
        ("a:4150 #5/plays", [*unpack_ids(ids[0] + ids[2])], bytes([0, 2])),
        ("a:4150 #6 #6@h/plays", [*unpack_ids(ids[1] + ids[3])], bytes([1, 3])),
    ]
    assert all(isinstance(one, Plays) for one in sent)
    letters = [one for one in effects if hasattr(one, "letters")]
    rejected = [rules.dead_lettered(one.number)[0].message for one in letters]
    assert [(one.source, one.ids) for one in rejected] == [
        ("a:4150 #5/plays", ids[0]),
        ("a:4150 #6 #6@h/plays", ids[1]),
    ]
    assert all(isinstance(one, Rejected) for one in rejected)
    assert [json.loads(one.letters[0])["source"] for one in letters] == ["a:4150/plays"] * 2, "as before"
    numbers = [one.number for one in (*sent, *rejected)]
    rules.counted(0, numbers, 0)
    assert (rules.outstanding, rules.in_flight(1)) == (0, 0)
