"""An nsqd that has gone counts as unknown: when that begins, and when it ends."""

import pytest

from actors.core.stats import NsqdStats
from actors.service.gone import GONE_S, LOOKED_S, RESTART_S, Gone, KnownNsqds

STAYS = NsqdStats("a:4150", "", connected=True, ready_count=1, in_flight=0)
SOON_S = 0.001


def nsqd(held=None, looked_ms=None, names=()):
    names = list(names)
    return NsqdStats("b:4150", "b:4151", True, 1, 0, names=names, held=held, looked_ms=looked_ms)


def known(*told, went_s=100.0):
    """What is known after the consumer told of this nsqd, which then went."""
    found = KnownNsqds()
    for one in told:
        found.told([STAYS, one], went_s - 1)
    found.told([STAYS], went_s)
    return found


def unknown_until(found, went_s=100.0):
    """For how long it counts as unknown, of the times that mean something."""
    times = [0.0, RESTART_S - SOON_S, RESTART_S, GONE_S - SOON_S, GONE_S, 2 * GONE_S]
    return [at for at in times if any(one.is_unknown for one in found.gone(went_s + at))][-1:]


@pytest.mark.parametrize("held", [None, 1, 1000])
def test_one_that_held_messages_or_was_never_looked_at_is_unknown_for_five_minutes(held):
    told = nsqd(held, None if held is None else 500)
    assert unknown_until(known(told)) == [GONE_S - SOON_S]
    assert known(told).gone(100.0) == [Gone(told, is_unknown=True)]


def test_one_that_was_empty_may_have_got_plays_since_so_it_is_unknown_for_as_long_as_a_restart():
    assert unknown_until(known(nsqd(0, 500))) == [RESTART_S - SOON_S]


def test_a_look_long_before_it_went_says_nothing():
    long_ago_ms = round(LOOKED_S * 1000)
    assert unknown_until(known(nsqd(0, long_ago_ms))) == [GONE_S - SOON_S]
    assert unknown_until(known(nsqd(0, long_ago_ms - 1000))) == [RESTART_S - SOON_S]


def test_the_newest_look_counts_whoever_looked():
    found = KnownNsqds()
    found.told([STAYS, nsqd(7, 500)], 99)
    found.answered("b:4150", 0, 98.0)  # older than the consumer's
    found.told([STAYS], 100)
    assert unknown_until(found) == [GONE_S - SOON_S]
    found = KnownNsqds()
    found.told([STAYS, nsqd(7, 500)], 99)
    found.answered("b:4150", 0, 99.5)
    found.told([STAYS], 100)
    assert unknown_until(found) == [RESTART_S - SOON_S]


def test_one_that_answers_after_it_went_and_then_does_not_is_unknown_again():
    found = known(nsqd(0, 500))
    found.answered("b:4150", 0, 100 + 2 * RESTART_S)
    assert unknown_until(found, 100 + 2 * RESTART_S) == [RESTART_S - SOON_S]
    found.answered("b:4150", 3, 100 + 2 * RESTART_S)
    assert found.gone(100 + 4 * RESTART_S)[0].is_unknown


def test_one_that_is_back_has_not_gone_and_goes_anew():
    found = known(nsqd(7, 500))
    found.told([STAYS, nsqd()], 150)
    assert found.gone(150) == []
    found.told([STAYS], 200)
    assert unknown_until(found, 200) == [GONE_S - SOON_S]


def test_one_that_is_known_by_another_of_its_names_has_not_gone():
    found = KnownNsqds()
    found.told([STAYS, nsqd()], 99)
    found.told([STAYS, NsqdStats("c:4150", "", True, 1, 0, names=["b:4150", "c:4150"])], 100)
    assert (found.gone(100), found.addresses) == ([], {"a:4150", "c:4150"})


def test_a_consumer_that_knows_of_none_has_not_told_yet():
    found = KnownNsqds()
    found.told([nsqd()], 99)
    found.told([], 100)
    assert found.gone(100) == []


def test_what_has_gone_for_good_is_forgotten():
    found = known(nsqd())
    assert found.gone(100 + GONE_S) == []
    found.told([STAYS], 100 + GONE_S)
    assert found.addresses == {"a:4150"}


def test_nobody_is_gone_whom_we_never_knew():
    found = KnownNsqds()
    found.answered("b:4150", 5, 100)
    found.told([STAYS], 101)
    assert found.gone(101) == []
