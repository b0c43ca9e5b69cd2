"""Tables and folded text without rich: as rich would show them."""

import io

import pytest
from rich.cells import cell_len

from actors.cli.plain_page import Cell, Column, Grid, PlainPage, fitted, folded, width_of

GRID = Grid((Column("name"), Column("size", True), Column("note")), [[Cell("日本"), Cell("7"), Cell("a")]], 1)


@pytest.mark.parametrize("text", ["", "abc", "日本語", "e\u0301tude", "├─ counter-0", "naïve"])
def test_a_text_takes_as_many_columns_as_rich_says(text):
    assert width_of(text) == cell_len(text)


@pytest.mark.parametrize(
    ("text", "columns", "lines"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("one two three", 13, ["one two three"]),
        ("a " + "b" * 10, 4, ["a", "bbbb", "bbbb", "bb"]),
        ("日本語 x", 4, ["日本", "語 x"]),
        ("", 4, [""]),
        ("ab", 1, ["a", "b"]),
    ],
)
def test_a_text_goes_on_in_the_next_line_and_nothing_is_cut(text, columns, lines):
    assert folded(text, columns) == lines


def test_columns_are_as_wide_as_their_longest_cell_and_numbers_are_on_the_right():
    head, row = ("".join(cell.text for cell in line) for line in GRID.lines())
    assert (head, row) == ("name size note", "日本    7 a   ")
    assert cell_len(row) == GRID.width() == 14
    assert GRID.in_lines() == ["日本: size 7, note a"]


def test_the_widest_grid_that_fits_is_shown():
    def make(dropped):
        kept = [one for one in (0, 1, 2) if GRID.columns[one].name not in dropped]
        return Grid([GRID.columns[one] for one in kept], [[GRID.rows[0][one] for one in kept]], 1)

    assert fitted(make, ["note", "size"], 14)[1] == frozenset()
    assert fitted(make, ["note", "size"], 13)[1] == {"note"}
    assert fitted(make, ["note", "size"], 4)[1] == {"note", "size"}
    assert fitted(make, ["note", "size"], 3) == (None, {"note", "size"})


def test_a_file_gets_no_style(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr("sys.stdout", file)
    page = PlainPage()
    page.print([Cell("a", "red"), Cell(" b  ")])
    assert (file.getvalue(), page.width) == ("a b\n", 500)
