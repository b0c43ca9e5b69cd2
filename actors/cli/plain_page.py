"""Tables and lines on stdout without rich, which takes longer to import than `status` takes to answer.

A narrow page drops the columns that matter least. No number is ever cut, and text goes on in the next line.
"""

import os
import sys
import unicodedata
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from ..supervision.printable import Lines, PrintableText
from ..supervision.standard_streams import wants_plain

PIPE_COLUMNS = 500  # the width of a page that goes to a file or another program
COLUMNS = 80  # of a terminal that does not say
BRANCH = "├└│─ "  # before a child's id in the tree of `status`
_STYLES = {"dim": "2", "red": "31", "green": "32", "yellow": "33"}


class Cell(NamedTuple):
    """A text, and "dim", a colour or nothing."""

    text: str = ""
    style: str = ""


class Column(NamedTuple):
    """The head of a column. `is_number`: its cells are aligned right."""

    name: str
    is_number: bool = False


class Grid(NamedTuple):
    """A table of one line a row, with `gap` spaces between its columns."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    gap: int = 2

    def widths(self) -> list[int]:
        """The width of each column: that of its longest cell."""
        cells = zip(*([Cell(one.name) for one in self.columns], *self.rows), strict=True)
        return [max(width_of(cell.text) for cell in column) for column in cells]

    def width(self) -> int:
        """The width of the whole."""
        return sum(self.widths()) + self.gap * (len(self.columns) - 1)

    def lines(self) -> list[list[Cell]]:
        """The head and the rows, filled with spaces to the widths."""
        widths = self.widths()
        head = [Cell(one.name, "dim") for one in self.columns]
        return [
            [
                _filled(cell, width, column.is_number, self.gap if place else 0)
                for place, (cell, width, column) in enumerate(zip(row, widths, self.columns, strict=True))
            ]
            for row in (head, *self.rows)
        ]

    def in_lines(self) -> list[str]:
        """The rows, for a page that is narrower: the first cell of each, and the others by name."""
        names = [column.name for column in self.columns[1:]]
        found = []
        for first, *cells in self.rows:
            named = ", ".join(
                f"{name} {cell.text}" for name, cell in zip(names, cells, strict=True) if cell.text
            )
            found.append(f"{first.text.lstrip(BRANCH)}: {named}")
        return found


def fitted(
    make: Callable[[Collection[str]], Grid], least_first: Sequence[str], columns: int
) -> tuple[Grid | None, frozenset[str]]:
    """Make the widest grid that fits. Returns it, and the columns that it lacks; None if none fits.

    `make`: makes it without these columns. `least_first`: those that may be dropped, the least first.
    """
    for count in range(len(least_first) + 1):
        dropped = frozenset(least_first[:count])
        grid = make(dropped)
        if grid.width() <= columns:
            return grid, dropped
    return None, frozenset(least_first)


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def folded(text: str, columns: int) -> list[str]:
    """The text in lines of at most so many columns; cut between words, where it can be."""
    lines, line, left = [], "", columns
    for word in text.split(" "):
        space = " " if line else ""
        if line and width_of(space + word) > left:
            lines.append(line)
            line, left, space = "", columns, ""
        line, left = line + space + word, left - width_of(space + word)
        while left < 0 and len(line) > 1:
            cut = _cut(line, columns)
            lines.append(line[:cut])
            line = line[cut:]
            left = columns - width_of(line)
    return [*lines, line]


class PlainPage:
    """stdout, for people. `width`: its columns."""

    def __init__(self) -> None:
        is_terminal = sys.stdout.isatty()
        self.width = _columns() if is_terminal else PIPE_COLUMNS
        self._has_styles = is_terminal and not wants_plain()

    def print(self, line: Sequence[Cell]) -> None:
        """Print one line. Its text is printable already: see `printable.py`."""
        if self._has_styles:
            text = "".join(map(_styled, line)).rstrip()
            stream = sys.stdout.styled if isinstance(sys.stdout, PrintableText) else sys.stdout
            stream.write(f"{text}\n")
        else:
            print(Lines("".join(cell.text for cell in line).rstrip()))


def _columns() -> int:
    named = os.environ.get("COLUMNS", "")
    if named.isdecimal() and int(named):
        return int(named)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or COLUMNS
    except (OSError, ValueError):
        return COLUMNS


def _filled(cell: Cell, width: int, is_number: bool, gap: int) -> Cell:
    fill = " " * (width - width_of(cell.text))
    text = fill + cell.text if is_number else cell.text + fill
    return Cell(" " * gap + text, cell.style)


def _styled(cell: Cell) -> str:
    return f"\x1b[{_STYLES[cell.style]}m{cell.text}\x1b[0m" if cell.style else cell.text


def _cut(text: str, columns: int) -> int:
    """How many characters of a text fit, at least one."""
    taken = 0
    for place, one in enumerate(text):
        taken += _width(one)
        if taken > columns:
            return max(1, place)
    return len(text)


def _width(one: str) -> int:
    if unicodedata.combining(one):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1
