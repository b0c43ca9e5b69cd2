"""Tables for people: no column is missing or narrower than its longest value, at any width of a terminal."""

import pytest
from rich.cells import cell_len
from rich.table import Table

from actors import config
from actors.cli import audit_run, check, kills, plain_page, report, settings_table, status_page
from actors.cli.checks.finding import fails, works
from actors.cli.kills import Kill
from actors.cli.page import PIPE_COLUMNS, Page
from tests.unit.cli.test_report import NO_LATENCY, run_of
from tests.unit.cli.test_status_page import child, nsqd, status

WIDTHS = (60, 80, 200)
NARROW = 40  # no whole table of numbers fits
TINY = 20  # no table fits
NSQLOOKUPD = "nsqlookupd https://nsqlookupd-1.example.org:4161/a/path"
# Columns of sentences, which continue on the next line: the command, and the column's place in its table.
PROSE = {("status", 1), ("check", 1), ("check", 2), ("report", 1), ("audit", 1), ("config", 1)}
# Columns that a narrow terminal does not have, and where else they are.
LEFT_OUT = {
    ("config", "expected"),  # config.toml says it, and config --json
    ("config", "from"),  # what differs from the defaults is above the rest
    ("status", "CPU"),  # status --json
    ("status", "mailbox"),
    ("status", "last exit"),  # in lines below the table
}


def show_status():
    ended = child(
        "counter-0",
        pid=4_194_304,
        incarnation=12,
        last_exit={"how": "killed(SIGKILL), hung (no answer for 10.3 s)"},
    )
    ended |= {"came_back_ms": 1234.5, "uptime_s": 360_000.0, "state": "starting"}
    nsqds = {
        "connections": 1,
        "depth": 0,
        "others_on_channel": 1,
        "nsqds": [nsqd("an-nsqd.example.org:4150")],
    }
    status_page.show_status(status(child("nsqd"), ended, child("dispatcher"), nsq=nsqds))


def show_config():
    settings_table.show_settings(
        config.explain(None, ["publish.url=https://a-client.example.org/a/path/to/plays"])
    )


def show_check():
    check._show([works("state folder", "it can be written"), fails(NSQLOOKUPD, "no answer", "start it")])


def show_kills():
    kills.show_table([Kill("dispatcher", 4711, 12_345.6, 12_345.6)] * 100, check.Page())


def show_report():
    run = run_of(7, hot={**NO_LATENCY, "count": 1, "max": 2.0})
    report.render(run, report.findings(run))


def show_audit():
    audit_run.show(run_of(123_456_789).economy)


COMMANDS = {
    "status": show_status,
    "config": show_config,
    "check": show_check,
    "drill": show_kills,
    "report": show_report,
    "audit": show_audit,
}


@pytest.fixture
def columns(monkeypatch):
    """Show a command on a page of that width: each column's header, place, longest value, and width."""

    def shown(command, width):
        found = []
        calculate = Table._calculate_column_widths

        def noted(table, console, options):
            widths = calculate(table, console, options)
            if options.max_width > width:  # it is measured, and maybe not shown
                return widths
            for place, (column, given) in enumerate(zip(table.columns, widths, strict=True)):
                lines = [line for cell in column.cells for line in str(cell).split("\n")]
                longest = max(map(cell_len, [*lines, str(column.header)]))
                found.append((str(column.header), place, longest, given))
            return widths

        shown_lines = plain_page.Grid.lines

        def noted_lines(grid):
            for place, (column, given) in enumerate(zip(grid.columns, grid.widths(), strict=True)):
                longest = max(cell_len(row[place].text) for row in grid.rows)
                found.append((column.name, place, max(longest, cell_len(column.name)), given))
            return shown_lines(grid)

        class NarrowPlain(plain_page.PlainPage):
            def __init__(self):
                super().__init__()
                self.width = width

        class Narrow(Page):
            def __init__(self, **options):
                super().__init__(**options)
                self.width = width

        for module in (check, report, audit_run, settings_table):
            monkeypatch.setattr(module, "Page", Narrow)
        monkeypatch.setattr(Table, "_calculate_column_widths", noted)
        monkeypatch.setattr(status_page, "PlainPage", NarrowPlain)
        monkeypatch.setattr(plain_page.Grid, "lines", noted_lines)
        COMMANDS[command]()
        monkeypatch.undo()
        return found

    return shown


@pytest.mark.parametrize("width", [NARROW, *WIDTHS])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_column_is_narrower_than_its_longest_value(command, width, columns, capsys):
    squeezed = {(command, place) for _, place, longest, given in columns(command, width) if given < longest}
    assert squeezed <= PROSE
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_column_is_missing(command, width, columns, capsys):
    headers = {header for header, *_ in columns(command, PIPE_COLUMNS)}
    capsys.readouterr()
    missing = headers - {header for header, *_ in columns(command, width)}
    text = capsys.readouterr().out
    assert {(command, header) for header in missing} <= LEFT_OUT
    if "last exit" in missing:
        assert "last exit  counter-0: killed(SIGKILL)" in text


def test_a_table_that_a_page_is_too_narrow_for_is_a_line_a_row_with_the_same_values(columns, capsys):
    _ = columns("drill", NARROW)
    text = " ".join(capsys.readouterr().out.split())
    assert "all: kills 100, median 12346 ms, 95 % 12346 ms, slowest 12346 ms" in text
    _ = columns("status", TINY)
    text = " ".join(capsys.readouterr().out.split())
    assert "counter-0: state starting, pid 4194304, life #12, up 100 h 00 min, memory" in text


@pytest.mark.parametrize(
    ("width", "lacks"),
    [
        (120, []),
        (80, ["last exit"]),
        (60, ["mailbox", "CPU"]),
        (50, ["memory"]),
        (40, ["up"]),
        (32, ["life"]),
        (30, ["pid"]),
    ],
)
def test_the_status_drops_its_columns_in_the_order_of_what_matters_least(width, lacks, columns, capsys):
    found = [header for header, *_ in columns("status", width)]
    order = [*status_page.LEAST_FIRST]
    dropped = [one for one in order if one not in found]
    assert dropped == order[: len(dropped)]
    assert set(lacks) <= set(dropped)
    text = capsys.readouterr().out
    assert ("4194304" in text) is ("pid" not in dropped), "a number is there, or its column is not"
    if "last exit" in dropped:
        words = " ".join(text.split())
        assert "last exit counter-0: killed(SIGKILL), hung (no answer for 10.3 s)" in words
