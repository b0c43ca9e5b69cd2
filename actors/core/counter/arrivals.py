"""The arrivals of a video's plays. Pure. Times are nanoseconds of the wall clock."""

import numpy as np

from ..columns import Int64s
from .accounts import Account


def by_row(rows: Int64s, arrived_ns: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """The distinct rows, the number of plays of each, and the arrival (ns) of its oldest play."""
    keys = (rows << 32) | np.arange(len(rows))  # sorted as numbers: six times as fast as argsort
    keys.sort()
    rows, order = keys >> 32, keys & 0xFFFF_FFFF
    changes = np.flatnonzero(rows[1:] != rows[:-1])
    bounds = np.empty(len(changes) + 2, np.int64)
    bounds[0], bounds[1:-1], bounds[-1] = 0, changes + 1, len(rows)
    firsts = bounds[:-1]
    return rows[firsts], bounds[1:] - firsts, np.minimum.reduceat(arrived_ns[order], firsts)


def add_step(account: Account, arrived_ns: int, steps_below: int) -> None:
    """Keep the arrival of the play that makes the next total, if that total is a step."""
    steps_end = account.published + len(account.steps)
    if steps_end == account.total and account.total < steps_below:
        account.steps = (*account.steps, arrived_ns)
    elif account.steps and steps_end == steps_below:
        account.steps = (*account.steps[:-1], min(account.steps[-1], arrived_ns))


def earliest(arrived_ns: int, later_ns: int) -> int:
    """The earlier of two arrivals; 0 is no time."""
    return min(arrived_ns, later_ns) if arrived_ns and later_ns else arrived_ns or later_ns
