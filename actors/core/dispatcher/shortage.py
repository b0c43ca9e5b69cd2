"""Whether the deadlines of the pending videos need more publishes than can be made, and by how much. Pure.

This turns the schedule's formula (`schedule.py`) around. Number the deadlines from 0, earliest first.
Deadline i is in batch i // 20 at the earliest. If the batches up to it can't be answered by then, even if the
first leaves now, it is missed, and so many more publishes a second would be needed.

Once a deadline is near (`NEAR`) or has passed, no number of publishes would be enough. What counts then is
the number that would have been: all pending deadlines within the length of a deadline. So a backlog after an
outage is no shortage if the client can take as much as is played.
"""

from msgspec import Struct

from .calendar import Calendar
from .lead_time import LeadTime

NEAR = 0.1  # of a deadline


class Shortage(Struct, frozen=True):
    """The deadlines need `needed_per_s` publishes a second, and only `possible_per_s` can be made.

    `publish_ms`: how long one takes, on average. `by_rate_limit`: the rate limit allows no more; otherwise
    the client takes too long.
    """

    needed_per_s: float
    possible_per_s: float
    publish_ms: float
    by_rate_limit: bool


def shortage(
    deadlines: Calendar, now_ms: int, batch_size_max: int, deadline_ms: int, lead_time: LeadTime
) -> Shortage | None:
    """The greatest shortage, or None if every deadline can be kept. `deadlines`: of the pending videos."""
    batches = -(-len(deadlines) // batch_size_max)
    longest_ms = now_ms + lead_time.shortest_ms(batches)
    needed_per_s = 0.0
    before = 0
    for times_ms, videos in deadlines.blocks():
        if times_ms[0] >= longest_ms:
            break  # this one and all later ones are kept
        before += videos
        batches_before = (before - 1) // batch_size_max
        if now_ms + lead_time.shortest_ms(batches_before) <= times_ms[-1]:
            continue
        left_ms = times_ms[-1] - now_ms - lead_time.shortest_ms(0)
        if left_ms < NEAR * deadline_ms:
            needed_per_s = batches * 1000 / deadline_ms
            break
        needed_per_s = max(needed_per_s, batches_before * 1000 / left_ms)
    possible_per_s = lead_time.possible_per_s
    if needed_per_s <= possible_per_s:
        return None
    return Shortage(needed_per_s, possible_per_s, lead_time.mean_ms, lead_time.is_rate_limited)
