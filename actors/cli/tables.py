"""Tables of rich that fit the page: no number is ever cut. `plain_page.py` drops what matters least."""

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from .page import Page
from .plain_page import BRANCH, Grid

UNLIMITED = 10_000  # wider than any table


def width_of(table: Table, page: Page) -> int:
    """The width of a table in which no column is narrower than its longest value."""
    options = page.options.update(width=UNLIMITED, max_width=UNLIMITED)
    return Measurement.get(page, options, table).maximum


def fits(table: Table, page: Page) -> bool:
    """Whether no column of a table has to be narrower than its longest value."""
    return width_of(table, page) <= page.width


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
