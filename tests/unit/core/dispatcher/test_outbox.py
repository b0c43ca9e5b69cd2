"""A batch: its key comes from its content, and its payload is the documented publish."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.dispatcher.lead_time import PublishTime
from actors.core.dispatcher.outbox import Batch, Entry, PublishTotals, Stage, make_batch, payload
from actors.core.triggers import Trigger

V, W = bytes(range(16)), b"w" * 16

entries = st.lists(
    st.builds(
        Entry,
        st.binary(min_size=16, max_size=16),
        st.integers(1, 2**63 - 1),
        st.integers(0, 2**63 - 1),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda entry: entry.video,
)
triggers = st.sampled_from(Trigger)


def test_the_same_content_has_the_same_key_whoever_makes_it():
    one = make_batch("service", Trigger.REALTIME, [Entry(V, 3, 17), Entry(W, 1, 5)])
    two = make_batch("service", Trigger.REALTIME, [Entry(V, 3, 17), Entry(W, 1, 5)])
    assert one == two
    assert one.stage is Stage.SENDING


@given(entries, entries, triggers, triggers)
def test_other_content_has_another_key(one, two, first, second):
    made = make_batch("s", first, one), make_batch("s", second, two)
    assert (made[0].key == made[1].key) == ((one, first) == (two, second))


@pytest.mark.parametrize("other", [Entry(W, 3, 17), Entry(V, 4, 17), Entry(V, 3, 18), Entry(V, 3, 17, True)])
def test_content_that_differs_in_one_thing_only_has_another_key(other):
    keys = {make_batch("s", Trigger.DRAIN, [one]).key for one in (Entry(V, 3, 17), other)}
    assert len(keys) == 2


def test_each_number_gives_the_same_content_another_key():
    batches = [make_batch("s", Trigger.DRAIN, [Entry(V, 1, 1)], number) for number in (0, 1, 2, 11)]
    assert len({batch.key for batch in batches}) == 4
    assert [batch.key_number for batch in batches] == [0, 1, 2, 11]


def test_another_service_has_other_keys():
    content = Trigger.DRAIN, [Entry(V, 1, 1)]
    assert make_batch("a", *content).key != make_batch("b", *content).key


def test_a_batch_is_the_same_once_it_is_accepted_but_for_its_stage():
    batch = make_batch("service", Trigger.DEADLINE, [Entry(V, 3, 17)])
    accepted = batch.accepted()
    assert accepted.stage is Stage.ACCEPTED
    assert (accepted.key, accepted.trigger, accepted.entries) == (
        batch.key,
        batch.trigger,
        batch.entries,
    )


def test_the_payload_is_the_publish_that_the_interface_names():
    batch = make_batch("service", Trigger.OVERDUE, [Entry(V, 123, 17), Entry(W, 1, 5, True)])
    assert json.loads(json.dumps(payload(batch))) == {
        "batch": batch.key,
        "trigger": "overdue",
        "videos": [
            {
                "video_id": "00010203-0405-0607-0809-0a0b0c0d0e0f",
                "plays": 123,
                "arrived_at_ns": 17,
            },
            {
                "video_id": "77777777-7777-7777-7777-777777777777",
                "plays": 1,
                "arrived_at_ns": 5,
                "overdue": True,
            },
        ],
    }


@given(entries, triggers)
def test_a_batch_that_was_written_down_is_read_back_and_sent_as_it_was(content, trigger):
    batch = make_batch("service", trigger, content)
    for one in (batch, batch.accepted()):
        back = msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=Batch)
        assert back == one
        assert json.dumps(payload(back)) == json.dumps(payload(batch))


def test_totals_grow_by_what_is_named():
    totals = PublishTotals().plus(realtime=1, videos=20, late=0).plus(failed=2, videos=1)
    assert totals == PublishTotals(realtime=1, videos=21, failed=2)


def test_what_one_client_took_is_forgotten_when_there_is_another():
    totals = PublishTotals(realtime=1, client="http://a", publish_time=PublishTime(5, 1))
    assert totals.published_to("http://a") == totals
    assert totals.published_to("http://b") == PublishTotals(realtime=1, client="http://b")
