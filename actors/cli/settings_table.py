"""The table of `config`: what differs from the defaults first, then the rest."""

from rich.table import Table
from rich.text import Text

from ..config import Setting
from ..supervision.printable import printable
from .page import Page
from .tables import fits, width_of

CHANGED = "*"  # behind the source of a value that is not the default
VALUE_COLUMNS_MIN = 20  # wider than any number with its unit; a longer text continues on the next line
# From the widest page to the narrowest: what a table lacks, and whether its values may be continued. The
# expectations are in config.toml too, and what differs from the defaults is above the rest.
FORMS: tuple[tuple[frozenset[str], bool], ...] = (
    (frozenset(), False),
    (frozenset({"expected"}), False),
    (frozenset({"expected"}), True),
    (frozenset({"expected", "from"}), False),
    (frozenset({"expected", "from"}), True),
)


def show_settings(settings: list[Setting]) -> None:
    """Print every setting in force: those that are not the default first, and marked."""
    page = Page()
    changed = [one for one in settings if not one.is_default]
    others = [one for one in settings if one.is_default]
    marked = True
    for dropped, folds in FORMS:
        table = _table(changed, others, dropped)
        if _narrowed(table, page) if folds else fits(table, page):
            page.print(table)
            marked = "from" not in dropped
            break
    else:
        for one in (*changed, *others):
            page.print(Text(printable(f"{one.key} = {_value(one)} (from {_source(one)})")))
    if changed:
        first = "the first is" if len(changed) == 1 else f"the first {len(changed):,} are"
        page.print(Text(f"{CHANGED if marked else first} not the default", style="dim"))


def _narrowed(table: Table, page: Page) -> bool:
    """Make the values as narrow as the page needs. Returns False if they had to be too narrow."""
    value = next(one for one in table.columns if one.header == "value")
    value.width = VALUE_COLUMNS_MIN
    room = page.width - width_of(table, page)
    value.width = VALUE_COLUMNS_MIN + room
    value.no_wrap = False
    return room >= 0


def _table(changed: list[Setting], others: list[Setting], dropped: frozenset[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    names = [name for name in ("setting", "value", "from", "expected") if name not in dropped]
    for name in names:
        style = "dim" if name == "expected" else ""
        table.add_column(name, no_wrap=True, overflow="fold", style=style)
    for one in changed:
        table.add_row(*_cells(one, names, "bold"))
    if changed and others:
        table.add_row()
    for one in others:
        table.add_row(*_cells(one, names, ""))
    return table


def _cells(one: Setting, names: list[str], style: str) -> list[Text]:
    cells = {"setting": one.key, "value": _value(one), "from": _source(one), "expected": one.expected}
    return [Text(printable(cells[name]), style=style) for name in names]


def _source(one: Setting) -> str:
    return one.source if one.is_default else f"{one.source} {CHANGED}"


def _value(one: Setting) -> str:
    text = _text(one.value)
    return f"{text} {one.unit}" if one.unit else text


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return str(value) or '""'
