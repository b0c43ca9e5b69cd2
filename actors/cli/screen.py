"""Prints the totals on stdout for people."""

from ..core import guids
from ..core.words import counted
from .plain_page import PlainPage


def show_totals(rows: list[tuple[bytes, int, int]]) -> None:
    """Print `rows`, the greatest total first: a video, its total, and the last one that the client confirmed.

    Each row is printed when it is made: there may be millions. A page that is too narrow lacks the column
    "published".
    """
    greatest = rows[0][1] if rows else 0
    columns = max(len("published"), len(f"{greatest:,}"))
    if 36 + 2 * (columns + 1) <= PlainPage().width:
        print(f"{'video':<36} {'plays':>{columns}} {'published':>{columns}}")
        for video, total, published in rows:
            print(f"{guids.text(video)} {total:>{columns},} {published:>{columns},}")
    else:
        print(f"{'video':<36} {'plays':>{columns}}")
        for video, total, _ in rows:
            print(f"{guids.text(video)} {total:>{columns},}")
    plays = sum(total for _, total, _ in rows)
    behind = sum(published != total for _, total, published in rows)
    more = f"; the latest total of {behind:,} is not published yet" if behind else ""
    print(f"{counted(plays, 'play')} of {counted(len(rows), 'video')}{more}")
