"""Tells a dispatcher that starts again all pending videos, piece by piece. Pure.

A piece begins at a row of the table of accounts, and a row never changes its video. Plays are counted between
two pieces: a video that becomes pending then is announced as always, and perhaps once more by a later piece.
A piece tells what is so when it is made.
"""

import numpy as np

from ..columns import Int64s
from ..messages import NO_ROW, Pending
from .accounts import ARRIVED_NS, PUBLISHED, TOTAL, Accounts
from .announcements import Announcements
from .arrivals import earliest

NEVER_NS = (1 << 63) - 1
RECALL_VIDEOS = 16_384  # in one piece: a millisecond
ROWS_A_LOOK = 16_384  # a piece looks at so many rows at a time
ROWS_MAX = 8 * ROWS_A_LOOK  # and at no more than these, if few of them are pending


def recall(
    accounts: Accounts, row: int, videos_max: int, wall_ns: int, set_back_ns: int
) -> tuple[list[Pending], int]:
    """At most `videos_max` pending videos from `row` on, and the row to go on with; `NO_ROW` after the last.

    `set_back_ns`: by how much the wall clock was set back. The ledger clamps stamps to the wall clock. So an
    arrival after `wall_ns` is from before that, and is moved back too.
    """
    found, end = Announcements(), min(row + ROWS_MAX, len(accounts))
    while row < end and videos_max:
        look = accounts.cells[row : min(row + ROWS_A_LOOK, end)]
        rows = pending_rows(look)[:videos_max]
        videos_max -= len(rows)
        cells = look[rows]
        arrived_ns = cells[:, ARRIVED_NS].copy()
        for place, later_ns in accounts.taken_in(rows + row):
            arrived_ns[place] = earliest(int(arrived_ns[place]), later_ns)
        arrived_ns[arrived_ns > wall_ns] -= set_back_ns
        found.add(cells[:, :TOTAL], arrived_ns, cells[:, PUBLISHED] + 1)
        row += len(look) if videos_max else int(rows[-1]) + 1
    return found.messages(), row if row < len(accounts) else NO_ROW


def pending_rows(cells: Int64s) -> Int64s:
    """Which of these rows of the table have unpublished plays."""
    return np.flatnonzero(cells[:, PUBLISHED] < cells[:, TOTAL])
