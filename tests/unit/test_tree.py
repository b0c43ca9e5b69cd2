"""Which children are linked: the dispatcher to the counters and to the child that receives the publishes.

And which ones wait for each other at the start.
"""

import pytest

from actors.config import NsqSection, PublishSection, Settings
from actors.config.sections import ClientSection
from actors.tree import groups_to_poll, root_spec

COUNTERS = {"counter-0", "counter-1"}
NSQD = NsqSection(nsqd_tcp_addresses=["127.0.0.1:5150"])


def peers(settings):
    """The peers of each child of the root, by id."""
    spec = root_spec(settings).supervisor
    assert spec is not None
    return {child.id: set(child.peers) for child in spec.children if child.supervisor is None}


@pytest.mark.parametrize(
    ("settings", "receiver"),
    [
        (Settings(), "client"),
        (Settings(publish=PublishSection(url="http://127.0.0.1:8080/plays")), "client"),
        (Settings(publish=PublishSection(url="http://user:word@127.0.0.1:8080/plays")), "client"),
        (Settings(publish=PublishSection(url="http://127.0.0.1:0/plays")), "client"),
        (Settings(publish=PublishSection(url="http://localhost:8080/plays")), "client"),
        (
            Settings(
                publish=PublishSection(url="http://[::1]:9000/plays"),
                client=ClientSection(address="[::]:9000"),
            ),
            "client",
        ),
        (Settings(publish=PublishSection(url="http://127.0.0.1:8082/plays")), None),
        (Settings(publish=PublishSection(url="http://example.com:8080/plays")), None),
        (Settings(client=ClientSection(enabled=False)), None),
        (Settings(publish=PublishSection(url="")), None),
        (Settings(publish=PublishSection(url="", nsq_topic="totals")), "nsqd"),
        (Settings(publish=PublishSection(url="", nsq_topic="totals"), nsq=NSQD), None),
    ],
)
def test_the_dispatcher_hears_when_the_child_that_publishes_go_to_has_started(settings, receiver):
    found = peers(settings)
    assert found["dispatcher"] == COUNTERS | ({receiver} if receiver else set())
    for child in {"client", "nsqd"} & set(found):
        assert found[child] == ({"dispatcher"} if child == receiver else set())


@pytest.mark.parametrize(
    ("number", "consumers"), [(1, ["consumer"]), (3, ["consumer-0", "consumer-1", "consumer-2"])]
)
def test_each_consumer_is_linked_to_the_counters_alone_and_each_counter_to_all(number, consumers):
    settings = Settings(nsq=NsqSection(consumers=number))
    found = peers(settings)
    assert [child for child in found if child.startswith("consumer")] == consumers
    assert all(found[child] == COUNTERS for child in consumers)
    spec = root_spec(settings).supervisor
    assert spec is not None
    (counters,) = [child.supervisor for child in spec.children if child.supervisor is not None]
    assert {child.peers for child in counters.children} == {("dispatcher", *consumers)}
    assert groups_to_poll(settings)[0] == consumers


def test_only_children_that_compare_no_store_start_side_by_side():
    """The dispatcher compares the ledgers with its store and the marks before a counter writes in one.

    A consumer reads nothing before it is linked with all counters.
    """
    spec = root_spec(Settings()).supervisor
    assert spec is not None
    after = {child.id: child.after for child in spec.children}
    in_turn = {"dispatcher": None, "counters": None, "consumer": ("dispatcher",)}
    assert after == {"nsqd": (), "client": (), **in_turn}
    (counters,) = [child.supervisor for child in spec.children if child.supervisor is not None]
    assert {child.after for child in counters.children} == {()}
