"""When the first batch must leave, compared with the formula; and what is known is not looked at again."""

import random

import pytest

from actors.core.dispatcher import calendar
from actors.core.dispatcher.beginning import beginning
from actors.core.dispatcher.calendar import Calendar
from actors.core.dispatcher.lead_time import LeadTime, PublishTime
from actors.core.dispatcher.rule import Rule
from actors.core.dispatcher.schedule import Schedule

SIZE = 3


class Looked(Calendar):
    """A calendar that counts the blocks that are looked at."""

    def __init__(self):
        super().__init__()
        self.blocks_looked_at = 0

    def blocks(self, since_ms=None):
        for block in super().blocks(since_ms):
            self.blocks_looked_at += 1
            yield block


def formula(times_ms, lead_time):
    return min(time_ms - lead_time.lead_ms(place // SIZE) for place, time_ms in enumerate(sorted(times_ms)))


@pytest.mark.parametrize("seed", range(30))
def test_what_is_added_is_looked_at_with_what_is_known(seed, monkeypatch):
    chance = random.Random(seed)
    monkeypatch.setattr(calendar, "BLOCK_BITS", chance.choice([0, 3, 8]))
    lead_time = LeadTime(60_000, slack_ms=50, publish_time=PublishTime(chance.choice([1, 40, 700])))
    deadlines, times_ms, known = Calendar(), [], ()
    for _ in range(40):
        added = [100_000 + chance.randrange(2000) for _ in range(chance.randint(1, 6))]
        for time_ms in added:
            deadlines.add(time_ms, chance.randbytes(16))
        times_ms += added
        found = beginning(deadlines, SIZE, lead_time, *known and (known[0], min(added)))
        assert found == beginning(deadlines, SIZE, lead_time) == formula(times_ms, lead_time)
        known = (found,)


def test_a_deadline_after_all_others_has_one_block_looked_at():
    lead_time = LeadTime(60_000, publish_time=PublishTime(1))
    one = Schedule(Rule(1), SIZE, lead_time)
    one._deadlines = Looked()
    for second in range(240):
        one.offer(second.to_bytes(16, "big"), (second + 1) * 250, 100, 60_000)
        assert one.begin_ms() == one.begin_ms() < 60_250
        if second > 1:
            assert one._deadlines.blocks_looked_at <= 4, "the block of the deadline, and where it may end"
        one._deadlines.blocks_looked_at = 0
