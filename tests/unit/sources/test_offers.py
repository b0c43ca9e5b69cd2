"""A value that nsqd refuses is left out of the next IDENTIFY; a heartbeat is asked for less often first."""

import pytest

from actors.sources.offers import HEARTBEAT_MS_MIN, OWN_HEARTBEAT_MS, Offers


def identity(offers):
    values = {"heartbeat_interval": 30_000, "client_id": "me", "msg_timeout": 1}
    offers.put_into(values)
    return values


def refusal(name):
    return f"E_BAD_BODY IDENTIFY {name} (5000) is invalid".encode()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("msg timeout", "msg_timeout"),
        ("output buffer size", "output_buffer_size"),
        ("output buffer timeout", "output_buffer_timeout"),
    ],
)
def test_a_refused_value_is_left_out(name, key):
    offers = Offers(5)
    before = identity(offers)
    assert offers.learn(refusal(name))
    assert identity(offers) == {other: value for other, value in before.items() if other != key}
    assert offers.refused == [key]
    assert not offers.learn(refusal(name)), "it was left out already"


def test_our_values_stand_in_place_of_pynsqs():
    assert identity(Offers(2.5))["msg_timeout"] == 2500
    assert identity(Offers(2.5))["client_id"] == "me"


def test_the_shortest_heartbeat_is_tried_before_it_is_left_out():
    offers = Offers(5)
    assert offers.learn(refusal("heartbeat interval"))
    assert identity(offers)["heartbeat_interval"] == offers.heartbeat_ms == HEARTBEAT_MS_MIN
    assert offers.refused == []
    assert offers.learn(refusal("heartbeat interval"))
    assert "heartbeat_interval" not in identity(offers)
    assert offers.heartbeat_ms == OWN_HEARTBEAT_MS
    assert not offers.learn(refusal("heartbeat interval"))


@pytest.mark.parametrize(
    "error", [b"", b"E_BAD_TOPIC", b"E_BAD_BODY IDENTIFY sample rate (5) is invalid", b"\xff"]
)
def test_another_error_changes_nothing(error):
    offers = Offers(5)
    before = identity(offers)
    assert not offers.learn(error)
    assert identity(offers) == before
