"""Which deadlines can't wait for one more batch. Pure."""

from .calendar import Calendar
from .lead_time import LeadTime


def pressing(deadlines: Calendar, next_ms: int, fair_ms: int, size: int, lead_time: LeadTime) -> int:
    """How many deadlines would be missed if a batch without them left now; `size` at most.

    `next_ms`: when the batch after that one can leave. `fair_ms`: later deadlines do not press. `size`: how
    many videos a batch has.
    """

    def in_time(latest_ms: int, place: int) -> bool:
        """Whether the deadlines up to `place`, without the pressing ones, are answered by `latest_ms`."""
        return next_ms + lead_time.lead_ms((place - found - 1) // size) <= latest_ms

    safe_ms = next_ms + lead_time.lead_ms(len(deadlines) // size)
    place = found = 0
    for times_ms, videos in deadlines.blocks():
        if times_ms[0] >= min(safe_ms, fair_ms + 1):
            break
        end = place + videos
        if not in_time(times_ms[0], end):  # else all of this block are in time
            for latest_ms in times_ms:
                place += deadlines.count(latest_ms)
                if latest_ms <= fair_ms and not in_time(latest_ms, place):
                    found = max(found, place - size * lead_time.batches(latest_ms - next_ms))
                    if found >= size:
                        return size
        place = end
    return found
