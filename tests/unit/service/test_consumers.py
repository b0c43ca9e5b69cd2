"""What several consumers say is shown as what one says; one that does not run has no connection."""

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from actors.core.stats import ConsumerStats, NsqdStats, encode
from actors.service.consumers import together, told_by_consumers
from actors.supervision.states import State

A = NsqdStats("a:4150", "a:4151", True, 7, 5, 30, ["a:4150"], 9, 100, ["me:1"], 60_000)
NOT_A = replace(A, connected=False, ready_count=0, in_flight=0, own_ends=[])
NOWHERE = ConsumerStats(0, 0, 0)


def worker(child_id, stats, state=State.RUNNING):
    return SimpleNamespace(spec=SimpleNamespace(id=child_id), stats=stats and encode(stats), state=state)


def told(*workers, heard=None):
    return told_by_consumers(SimpleNamespace(workers=lambda: workers), heard or {})


def test_what_a_lone_consumer_says_is_as_it_says_it():
    stats = ConsumerStats(5, 1, 7, [A], 1, 2, 3, [], 4, 5, {"empty": 6}, ["x"])
    assert told(worker("consumer", stats)) == stats
    assert told(worker("consumer", NOWHERE), heard={"consumer": stats}) == stats
    assert told(worker("counter-0", None), worker("consumer", None)) == NOWHERE
    assert told() == NOWHERE


@pytest.mark.parametrize("state", [State.STOPPED, State.STOPPING, State.STARTING])
def test_a_consumer_that_does_not_run_has_no_connection_and_its_nsqds_stay_known(state):
    gone = worker("consumer-0", ConsumerStats(5, 1, 7, [A]), state)
    assert told(gone) == ConsumerStats(0, 0, 0, [NOT_A])
    old = worker("consumer-1", ConsumerStats(5, 1, 7, [replace(A, address="old:4150", names=[])]), state)
    assert [one.address for one in told(gone, old).nsqds] == ["a:4150", "old:4150"]
    # What one that stopped long ago knew of may be gone: the others say what is there.
    runs = ConsumerStats(2, 1, 3, [A])
    assert told(worker("consumer-0", runs), old) == runs


def test_figures_add_up_and_an_nsqd_is_connected_if_one_of_them_is():
    other = replace(A, ready_count=2, in_flight=1, last_age_ms=40, held=0, looked_ms=50, own_ends=["me:2"])
    other = replace(other, connected_ms=3000)
    found = told(
        worker("consumer-0", ConsumerStats(5, 1, 7, [A])),
        worker("consumer-1", ConsumerStats(3, 1, 2, [other])),
    )
    assert (found.outstanding, found.connections, found.ready_count) == (8, 2, 9)
    (nsqd,) = found.nsqds
    assert nsqd == replace(
        A,
        ready_count=9,
        in_flight=6,
        last_age_ms=40,
        held=0,
        looked_ms=50,
        own_ends=["me:1", "me:2"],
        connected_ms=3000,
    )
    (nsqd,) = together([ConsumerStats(0, 0, 0, [NOT_A]), ConsumerStats(3, 1, 2, [other])]).nsqds
    assert (nsqd.connected, nsqd.own_ends, nsqd.connected_ms) == (True, ["me:2"], 3000)
    (nsqd,) = together([ConsumerStats(0, 0, 0, [NOT_A])] * 2).nsqds
    assert not nsqd.connected and nsqd.own_ends == []


def test_an_nsqd_that_they_know_by_different_names_is_one_if_a_name_is_common():
    def of(address, *names):
        return NsqdStats(address, "", True, 1, 0, names=[address, *names])

    first, second = [of("a:1"), of("b:1"), of("c:1")], [of("b:2", "b:1"), of("d:1", "a:1", "c:1")]
    found = together([ConsumerStats(0, 3, 3, first), ConsumerStats(0, 2, 2, second)]).nsqds
    assert sorted((one.ready_count, one.names) for one in found) == [
        (2, ["b:1", "b:2"]),
        (3, ["a:1", "c:1", "d:1"]),
    ]


def test_an_http_address_that_one_knows_to_be_anothers_is_believed_of_none():
    wrong = replace(A, http_address="", wrong_http="x:4151")
    unsure = replace(A, http_address="x:4151", is_checked=False)
    (nsqd,) = together([ConsumerStats(0, 1, 0, [wrong]), ConsumerStats(0, 1, 0, [unsure])]).nsqds
    assert (nsqd.http_address, nsqd.wrong_http, nsqd.is_checked) == ("", "x:4151", False)
    (nsqd,) = together([ConsumerStats(0, 1, 0, [wrong]), ConsumerStats(0, 1, 0, [A])]).nsqds
    assert (nsqd.http_address, nsqd.wrong_http, nsqd.is_checked) == ("a:4151", "", True)


def test_an_nsqlookupd_is_unheard_only_if_none_of_them_has_heard_one():
    silent = ConsumerStats(0, 0, 0, unheard=["l:4161"])
    assert together([silent, silent]).unheard == ["l:4161"]
    assert together([silent, NOWHERE]).unheard == []
