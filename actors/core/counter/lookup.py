"""Answers what is asked about the totals of one shard. Pure. See `core/totals.py`."""

import numpy as np

from ..columns import Int64s, unpack_videos
from ..greatest import greatest
from ..messages import NO_ROW
from ..table import EMPTY
from ..totals import PIECE_ROWS, PIECE_VIDEOS, FoundTotals, TotalsCall
from .accounts import TOTAL, Accounts


def look_up(accounts: Accounts, asked: TotalsCall) -> FoundTotals:
    """The answer to `asked`: of a few rows at a time, whatever the number of videos is."""
    if asked.videos:
        found = [accounts.row(video) for video in unpack_videos(asked.videos)]
        rows = np.array([row for row in found if row != EMPTY], np.int64)
        return _found(accounts, rows, NO_ROW)
    piece = accounts.cells[asked.row : asked.row + PIECE_ROWS]
    rows = np.flatnonzero(piece[:, TOTAL] < asked.below) if asked.below else np.arange(len(piece))
    next_row = asked.row + len(piece)
    if asked.top:
        looked_at = piece[rows]
        rows = rows[greatest(looked_at[:, :TOTAL], looked_at[:, TOTAL], asked.top)]
    elif len(rows) > PIECE_VIDEOS:
        rows = rows[:PIECE_VIDEOS]
        next_row = asked.row + int(rows[-1]) + 1
    return _found(accounts, asked.row + rows, next_row if next_row < len(accounts) else NO_ROW)


def _found(accounts: Accounts, rows: Int64s, next_row: int) -> FoundTotals:
    cells = accounts.cells[rows]
    return FoundTotals(cells[:, :TOTAL].tobytes(), cells[:, TOTAL].tobytes(), next_row)
