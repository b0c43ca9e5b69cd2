"""Tables that fit the page: a narrow one drops the columns that matter least. No number is ever cut."""

from collections.abc import Callable, Collection, Sequence

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from .page import Page
from .plain_page import BRANCH, Grid

UNLIMITED = 10_000  # wider than any table
Make = Callable[[Collection[str]], Table]


def width_of(table: Table, page: Page) -> int:
    """The width of a table in which no column is narrower than its longest value."""
    options = page.options.update(width=UNLIMITED, max_width=UNLIMITED)
    return Measurement.get(page, options, table).maximum


def fits(table: Table, page: Page) -> bool:
    """Whether no column of a table has to be narrower than its longest value."""
    return width_of(table, page) <= page.width


def fitted(make: Make, least_first: Sequence[str], page: Page) -> tuple[Table | None, frozenset[str]]:
    """Make the widest table that fits. Returns it, and the columns that it lacks.

    `make`: makes the table without these columns. `least_first`: the columns that may be dropped, that which
    matters least first. The table is None if none fits: then see `in_lines`.
    """
    for count in range(len(least_first) + 1):
        dropped = frozenset(least_first[:count])
        table = make(dropped)
        if fits(table, page):
            return table, dropped
    return None, frozenset(least_first)


def in_lines(table: Table) -> Text:
    """What a table has, for a page that is narrower: for each row the first cell, and the others by name."""
    lines = []
    for first, *cells in zip(*(map(str, column.cells) for column in table.columns), strict=True):
        named = zip((column.header for column in table.columns[1:]), cells, strict=True)
        lines.append(f"{first.lstrip(BRANCH)}: {', '.join(f'{name} {cell}' for name, cell in named if cell)}")
    return Text("\n".join(lines))


def table_of(grid: Grid) -> Table:
    """The same table for rich."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, grid.gap, 0, 0))
    for column in grid.columns:
        table.add_column(column.name, justify="right" if column.is_number else "left", no_wrap=True)
    for row in grid.rows:
        table.add_row(*(Text(cell.text, style=cell.style) for cell in row))
    return table
