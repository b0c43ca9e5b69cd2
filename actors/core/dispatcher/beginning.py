"""When the first batch must leave so that all deadlines are kept: the formula at the top of `schedule.py`.

Pure.
"""

from .calendar import Calendar
from .lead_time import LeadTime
from .pending import NEVER_MS


def beginning(
    deadlines: Calendar,
    size: int,
    lead_time: LeadTime,
    known_ms: int = NEVER_MS,
    since_ms: int | None = None,
) -> int:
    """When the first batch must leave, in ms. There must be deadlines.

    `size`: how many videos a batch has. `known_ms`, `since_ms`: the result before deadlines were added, of
    which `since_ms` is the earliest: those before it have the places that they had.
    """
    lead_ms, begin_ms = lead_time.lead_ms, known_ms
    longest_ms = lead_ms((len(deadlines) - 1) // size)
    doubtful, place = [], deadlines.before_block_of(since_ms)
    for times_ms, videos in deadlines.blocks(since_ms):
        if times_ms[0] - longest_ms >= begin_ms:
            break  # no later deadline can begin sooner
        block_ms = lead_ms((place + videos - 1) // size)
        doubtful.append((times_ms[0] - block_ms, times_ms, place))
        begin_ms = min(begin_ms, times_ms[-1] - block_ms)
        place += videos
    for soonest_ms, times_ms, first in doubtful:
        if soonest_ms < begin_ms:
            place = first
            for latest_ms in times_ms:
                if latest_ms - longest_ms >= begin_ms:
                    break
                place += deadlines.count(latest_ms)
                begin_ms = min(begin_ms, latest_ms - lead_ms((place - 1) // size))
    return begin_ms
