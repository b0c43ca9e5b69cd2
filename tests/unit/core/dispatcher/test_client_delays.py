"""How long the client delayed publishing, compared with a plain count of milliseconds."""

from hypothesis import given
from hypothesis import strategies as st

from actors.core.dispatcher.client_delays import KEPT_MAX, ClientDelays


@given(st.lists(st.tuples(st.integers(-25, 25), st.integers(0, 50)), max_size=50), st.integers(0, 500))
def test_each_millisecond_of_the_hold_ups_counts_once(spans, from_ms):
    holdups, held, now_ms = ClientDelays(), set(), 1000
    for gap_ms, took_ms in spans:
        began_ms = now_ms + gap_ms  # may overlap the delay before
        now_ms = max(now_ms, began_ms + took_ms)
        holdups.add(began_ms, now_ms)
        floor_ms = max(held, default=began_ms - 1) + 1
        held.update(range(max(began_ms, floor_ms), now_ms))
    assert holdups.since(1000 + from_ms) == sum(at_ms >= 1000 + from_ms for at_ms in held)


def test_only_what_is_after_an_instant_counts():
    holdups = ClientDelays()
    holdups.add(100, 200)
    holdups.add(150, 250)  # adds only 200 to 250
    holdups.add(300, 400)
    assert [holdups.since(at_ms) for at_ms in (0, 150, 225, 275, 350, 400)] == [250, 200, 125, 100, 50, 0]


def test_a_hold_up_that_goes_on_begins_once():
    holdups = ClientDelays()
    holdups.end(50)
    holdups.begin(100)
    holdups.begin(150)
    holdups.end(300)
    assert holdups.since(0) == 200


def test_of_very_many_only_the_last_are_kept():
    holdups = ClientDelays()
    for number in range(1000):
        holdups.add(number * 10, number * 10 + 1)
    assert holdups.since(0) == KEPT_MAX
