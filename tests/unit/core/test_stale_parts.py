"""The part that was changed longest ago is written next, however many rows change at once."""

from array import array
from functools import partial
from random import Random

import numpy as np
import pytest

from actors.core.stale_parts import FEW, StaleParts

ROWS = 10  # a part


def rows(*parts, times=1):
    """The last row of each of these parts, so often; a column of the other kind each time."""
    numbers = [part * ROWS + ROWS - 1 for part in parts] * times
    return np.array(numbers, np.int64) if len(parts) % 2 else array("q", numbers)


@pytest.mark.parametrize("times", [1, FEW])
def test_parts_are_taken_in_the_order_in_which_they_were_changed(times):
    stale = StaleParts(ROWS)
    stale.changed(rows(3, times=times), 1)
    stale.changed(rows(0, 3, 7, times=times), 2)
    stale.changed(rows(7, 1, times=times), 3)
    assert stale.needed_from(99) == 1
    assert [stale.take() for _ in range(5)] == [3, 0, 7, 1, None]
    assert stale.needed_from(99) == 99


@pytest.mark.parametrize("times", [1, FEW])
def test_a_part_that_was_written_needs_no_earlier_change_and_is_not_taken(times):
    stale = StaleParts(ROWS, [(5, 1)])
    stale.changed(rows(5, 6, times=times), 4)
    other = stale.copy()
    stale.written(5)
    assert (stale.needed_from(99), stale.take(), stale.take()) == (4, 6, None)
    assert (other.needed_from(99), other.take()) == (1, 5)


@pytest.mark.parametrize("seed", range(20))
def test_any_changes_and_writes_are_those_of_a_list_in_the_order_of_the_first_changes(seed):
    chance, stale, model = Random(seed), StaleParts(ROWS), list[tuple[int, int]]()
    for number in range(1, 200):
        parts = [chance.randrange(chance.choice([4, 300])) for _ in range(chance.choice([1, FEW, 3 * FEW]))]
        is_array = len(parts) > FEW
        stale.changed(
            (np.array if is_array else partial(array, "q"))([part * ROWS for part in parts]), number
        )
        fresh = dict.fromkeys(sorted(parts) if is_array else parts)
        model += [(part, number) for part in fresh if part not in dict(model)]
        if chance.random() < 0.5:
            assert stale.take() == (model.pop(0)[0] if model else None)
        if chance.random() < 0.1:
            written = chance.randrange(300)
            stale.written(written)
            model = [one for one in model if one[0] != written]
        if chance.random() < 0.1:
            stale = stale.copy()
        assert stale.needed_from(number + 1) == (model[0][1] if model else number + 1)
