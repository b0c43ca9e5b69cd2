"""Hands out totals that the client had, piece by piece, to be published again. Pure.

A piece begins at a row of the table of accounts. A row never changes its video, so a republish goes on where
it was, whatever was counted meanwhile.
"""

import numpy as np

from ..columns import unpack_videos
from ..messages import NO_ROW, CollectedPublished, CollectPublished
from ..table import EMPTY
from .accounts import PUBLISHED, TOTAL, Accounts

ROWS_A_LOOK = 4096  # a piece looks at so many rows at a time


def hand_out(accounts: Accounts, asked: CollectPublished) -> CollectedPublished:
    """The answer to `asked`."""
    if asked.videos:
        found = [accounts.row(video) for video in unpack_videos(asked.videos)]
        rows = np.array([row for row in found if row != EMPTY], np.int64)
        next_row = NO_ROW
    else:
        rows, next_row = _published_from(accounts, asked.row, asked.videos_max)
    cells = accounts.cells[rows]
    cells = cells[cells[:, PUBLISHED] > 0]
    videos, totals = cells[:, :TOTAL].tobytes(), cells[:, PUBLISHED].tobytes()
    return CollectedPublished(asked.number, videos, totals, next_row)


def _published_from(accounts: Accounts, row: int, videos_max: int) -> tuple[np.ndarray, int]:
    """The next rows from `row` on whose videos were published, and where to go on."""
    parts: list[np.ndarray] = []
    while row < len(accounts) and videos_max:
        look = accounts.cells[row : row + ROWS_A_LOOK, PUBLISHED]
        rows = np.flatnonzero(look > 0)[:videos_max]
        parts.append(rows + row)
        videos_max -= len(rows)
        row += int(rows[-1]) + 1 if not videos_max else len(look)
    found = np.concatenate(parts) if parts else np.empty(0, np.int64)
    return found, row if row < len(accounts) else NO_ROW
