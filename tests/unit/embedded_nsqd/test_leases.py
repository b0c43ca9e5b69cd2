"""Which leases time out when, and what of a lease goes back to its channel."""

from actors.embedded_nsqd.ids import IdFactory
from actors.embedded_nsqd.leases import Leases
from actors.embedded_nsqd.segment import Publication, build_segments
from actors.embedded_nsqd.subscriber import Lease, Progress, Subscriber


def progress_of(count: int) -> Progress:
    (segment,) = build_segments([Publication(1, [b"x"] * count)], IdFactory(1), now_ns=0)
    return Progress(segment)


def given(leases: Leases, progress: Progress, subscriber: Subscriber, deadline_ms: int) -> Lease:
    """All messages of a segment, given to one subscriber."""
    count = progress.segment.count
    lease = leases.start(progress, subscriber, 0, count, 0, deadline_ms)
    ids = progress.segment.ids(0, count)
    subscriber.in_flight.update({id: (lease, index) for index, id in enumerate(ids)})
    return lease


def test_leases_time_out_by_deadline_and_settled_ones_never():
    leases, subscriber = Leases(), Subscriber(1000)
    late, early, settled, later = (
        given(leases, progress_of(1), subscriber, deadline_ms) for deadline_ms in (30, 10, 20, 31)
    )
    leases.settle_one(settled)
    assert leases.take_expired(9) == []
    assert leases.take_expired(30) == [early, late]
    assert leases.take_expired(30) == []
    assert leases.take_expired(31) == [later]


def test_settled_leases_are_forgotten_long_before_their_deadline():
    leases, subscriber = Leases(), Subscriber(1000)
    for _ in range(1000):
        leases.settle_one(given(leases, progress_of(1), subscriber, 10**9))
    assert len(leases._heap) < 100


def test_what_is_still_in_flight_comes_back_in_spans_with_an_attempt_more():
    subscriber, progress = Subscriber(1000), progress_of(6)
    lease = given(Leases(), progress, subscriber, 1000)
    for index in (0, 3):
        del subscriber.in_flight[progress.segment.ids(index, index + 1)[0]]
    assert lease.take_back() == [(1, 3), (4, 6)]
    assert progress.attempts == {1: 1, 2: 1, 4: 1, 5: 1}
    assert (lease.outstanding, subscriber.in_flight) == (0, {})
