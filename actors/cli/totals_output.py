"""Prints totals: as a table, as CSV, as JSON.

Promises that each part is printed before the next is made: there may be millions of totals.
"""

from collections.abc import Iterable, Iterator

from ..core.columns import guids_of
from ..core.words import counted
from ..store.totals import TotalColumns
from ..supervision.printable import Lines
from .page import Page

GUID_COLUMNS = 36


def show(parts: Iterable[TotalColumns], greatest: int) -> None:
    """Print a table: a video, its total, and the last one that the client confirmed; and their sums.

    `greatest`: the greatest total, which says how wide the columns are. A page that is too narrow lacks the
    column "published".
    """
    columns = max(len("published"), len(f"{greatest:,}"))
    wide = GUID_COLUMNS + 2 * (columns + 1) <= Page().width
    print(f"{'video':<36} {'plays':>{columns}}" + (f" {'published':>{columns}}" if wide else ""))
    videos = plays = behind = 0
    for part in parts:
        totals, published = part.totals.tolist(), part.published.tolist()
        lines = [f"{guid} {total:>{columns},}" for guid, total in zip(_guids(part), totals, strict=True)]
        if wide:
            lines = [f"{line} {told:>{columns},}" for line, told in zip(lines, published, strict=True)]
        _print(lines)
        videos += len(part)
        plays += sum(totals)
        behind += int((part.published != part.totals).sum())
    more = f"; the latest total of {behind:,} is not published yet" if behind else ""
    print(f"{counted(plays, 'play')} of {counted(videos, 'video')}{more}")


def print_csv(parts: Iterable[TotalColumns]) -> None:
    """Print CSV with a header."""
    print("video_id,plays")
    for part in parts:
        _print([f"{guid},{total}" for guid, total in _by_guid(part)])


def print_json(parts: Iterable[TotalColumns]) -> None:
    """Print one object, as `standard_streams.print_json` prints it."""
    before = "{"
    for part in parts:
        if len(part):
            print(before)
            lines = [f'  "{guid}": {total}' for guid, total in _by_guid(part)]
            print(Lines(",\n".join(lines)), end="", flush=True)
            before = ","
    print("{}" if before == "{" else Lines("\n}"))


def _by_guid(part: TotalColumns) -> Iterator[tuple[str, int]]:
    return zip(_guids(part), part.totals.tolist(), strict=True)


def _guids(part: TotalColumns) -> list[str]:
    return guids_of(part.videos)


def _print(lines: list[str]) -> None:
    if lines:
        print(Lines("\n".join(lines)), flush=True)
