"""Prints tables on stdout for people. It gets the same data that commands print as JSON.

Text that people copy (a setting, an id, a path) is never cut. It continues on the next line, where stdout is
no terminal only after `PIPE_COLUMNS` characters.
"""

import sys
import time
from collections.abc import Callable, Iterable
from typing import IO, Any, cast

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ..config import Setting
from ..core.triggers import Trigger
from ..supervision.printable import PrintableText, printable
from ..system.exits import EXIT_DONE, Failure

WATCH_INTERVAL_S = 1.0
REFUSED_SHOWN_MAX = 10
PIPE_COLUMNS = 500  # the width of a page that goes to a file or another program
EXPECTED_COLUMNS_MIN = 132  # on a narrower page, `config` leaves out the column "expected"
WORK_COLUMNS_MIN = 104  # on a narrower page, `status` leaves out the columns in `WORK`
WORK = ("CPU", "mailbox")
_STATE_STYLES = {"running": "green", "starting": "yellow", "stopping": "yellow", "stopped": "red"}


class Page(Console):
    """stdout or stderr, for rich. A broken pipe raises, as the command line handles it for every command."""

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        file = stream.styled if isinstance(stream, PrintableText) else None
        super().__init__(highlight=False, stderr=stderr, file=cast("IO[str] | None", file))
        if not self.is_terminal:
            self.width = PIPE_COLUMNS

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render what is printed, with its text escaped: see `printable.py`. Called by rich."""
        for one in super().render(renderable, options):
            yield one if one.control else Segment(printable(one.text, kept="\n"), one.style)

    def on_broken_pipe(self) -> None:
        """Raise. rich calls this when it has caught a `BrokenPipeError`."""
        raise BrokenPipeError


def show_status(status: dict[str, Any]) -> None:
    """Print the tree of children, and the counts of plays and publishes."""
    page = Page()
    page.print(_status(status, page.width))


def watch(ask: Callable[[], dict[str, Any]]) -> int:
    """Show the status every `WATCH_INTERVAL_S` until Ctrl-C. `ask` returns it, or raises `Failure`."""
    try:
        page = Page()
        with Live(auto_refresh=False, console=page) as live:
            while True:
                try:
                    shown: Group | Text = _status(ask(), page.width)
                except Failure as failure:
                    shown = Text(f"{failure}\ntrying again until Ctrl-C", style="red")
                live.update(shown, refresh=True)
                time.sleep(WATCH_INTERVAL_S)
    except KeyboardInterrupt:
        return EXIT_DONE


def show_config(settings: list[Setting]) -> None:
    """Print every setting in force."""
    page = Page()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("setting", "value", "unit", "from"):
        table.add_column(name, no_wrap=name != "value", overflow="fold")
    wide = page.width >= EXPECTED_COLUMNS_MIN
    if wide:
        table.add_column("expected", style="dim")
    for one in settings:
        changed = "" if one.source == "default" or one.is_default else "bold"
        cells = [Text(one.key), Text(_value(one.value), style=changed), Text(one.unit), Text(one.source)]
        table.add_row(*cells, *([Text(one.expected)] if wide else []))
    page.print(table)


def show_totals(rows: list[tuple[str, int, int]]) -> None:
    """Print `rows`: a video, its total, and the last total of it that the client confirmed."""
    table = Table(box=None, pad_edge=False)
    table.add_column("video", no_wrap=True)
    table.add_column("plays", justify="right")
    table.add_column("published", justify="right")
    for video, total, published in rows:
        told = Text(f"{published:,}", style="" if published == total else "yellow")
        table.add_row(video, f"{total:,}", told)
    page = Page()
    page.print(table)
    plays = sum(total for _, total, _ in rows)
    page.print(f"{plays:,} plays of {len(rows):,} videos")


def _status(status: dict[str, Any], columns: int) -> Group:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("child", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("pid", "life", "up", "memory", *(WORK if columns >= WORK_COLUMNS_MIN else ())):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last exit", overflow="fold")
    supervisor = status["supervisor"]
    _add_row(table, "supervisor", {"state": "running", "incarnation": 1, **supervisor})
    children = {child["id"]: child for child in status["children"]}
    supervisors = {one["id"]: one for one in status["supervisors"]}
    _add_branches(table, supervisors["root"], supervisors, children, "")
    plays, publishes = status["plays"], status["publishes"]
    shown = [name for name in Trigger if publishes[name] or name is not Trigger.REPUBLISH]
    triggers = ", ".join(f"{publishes[name]:,} {name}" for name in shown)
    lines = [
        "",
        (
            f"plays      {plays['counted']:,} counted of {status['videos']:,} videos; "
            f"{plays['redelivered']:,} redeliveries dropped, {plays['dead_lettered']:,} dead letters"
        ),
        *_oldest(plays["oldest_age_ms"]),
        f"publishes  {publishes['total']:,} of {publishes['videos']:,} totals: {triggers}",
        (
            f"           {publishes['late']:,} totals late, {publishes['late_by_client']:,} by the client; "
            f"{publishes['failed']:,} attempts failed, {publishes['rejected']:,} rejected"
        ),
    ]
    if stored := [one for one in status["children"] if one["store_bytes"]]:
        sizes = ", ".join(f"{one['id']} {one['store_bytes'] / 1e6:.1f} MB" for one in stored)
        lines.append(f"stores     {sizes}")
    client = status["client"]
    if client["failures_in_a_row"]:
        circuit = client["circuit"].replace("_", " ")
        lines.append(f"client     failed {client['failures_in_a_row']:,} times in a row; circuit {circuit}")
    lines += _refused(status["refused_videos"], status["refused_videos_total"])
    if dropped := status["log_lines_dropped"]:
        lines.append(f"log        {dropped:,} lines dropped, because stderr could not be written")
    return Group(table, *(Text(line) for line in [*lines, *_nsqds(status["nsq"])]), _progress(status))


def _refused(videos: list[dict[str, Any]], total: int) -> list[str]:
    """One line for each of the first videos that the client refuses."""
    lines = [
        f"{one['video_id']} with {one['plays']:,} plays, {one['attempts']:,} times: {one['answer']}; "
        f"tried again in {_duration(one['next_attempt_s'])}"
        for one in videos[:REFUSED_SHOWN_MAX]
    ]
    if total > len(lines):
        lines.append(f"and {total - len(lines):,} more")
    return [f"{'' if number else 'refused':<10} {line}" for number, line in enumerate(lines)]


def _nsqds(nsq: dict[str, Any]) -> list[str]:
    """One line for each nsqd, and one if others read our channel."""
    lines = []
    for nsqd in nsq["nsqds"]:
        depth = "its depth is not known" if nsqd["depth"] is None else f"depth {nsqd['depth']:,}"
        if wrong := nsqd.get("wrong_http_address"):
            depth += f" ({wrong} is the HTTP of another nsqd: see nsq.nsqd_http_addresses)"
        age = "" if nsqd["last_age_ms"] is None else f", last {nsqd['last_age_ms'] / 1000:.1f} s old"
        state = "connected" if nsqd["connected"] else "NOT connected"
        lines.append(
            f"{nsqd['address']} {state}, RDY {nsqd['rdy']:,}, {nsqd['in_flight']:,} in flight, {depth}{age}"
        )
    if others := nsq["others_on_channel"]:
        lines.append(f"other consumers on our channel: {others:,}, which take a part of the plays")
    return [f"{'' if number else 'nsqd':<10} {line}" for number, line in enumerate(lines)]


def _oldest(age_ms: int) -> list[str]:
    """The line that says how long plays wait on the queue; none if no play of the last minute waited."""
    return [f"           the oldest of the last minute was {_duration(age_ms / 1000)} old"] if age_ms else []


def _progress(status: dict[str, Any]) -> Text:
    """Say that every play is published, or what is still to do."""
    if not status["caught_up"]:
        return Text(f"not caught up: {', '.join(status['why_not_caught_up'])}", style="yellow")
    if status["caught_up_is"] == "queue":
        return Text("caught up: nothing in flight, every play published", style="green")
    unknown = "but not every nsqd says what waits there (nsq.nsqd_http_addresses)"
    return Text(f"caught up: nothing in flight, every play published, {unknown}", style="yellow")


def _add_branches(
    table: Table,
    supervisor: dict[str, Any],
    supervisors: dict[str, Any],
    children: dict[str, Any],
    indent: str,
) -> None:
    for child_id in supervisor["children"]:
        last = child_id == supervisor["children"][-1]
        branch = indent + ("└─ " if last else "├─ ") + child_id
        if child_id in supervisors:
            nested = supervisors[child_id]
            rules = f"{nested['strategy']}, {nested['max_restarts']} in {nested['max_seconds']:g} s"
            state = Text(nested["state"], style=_STATE_STYLES[nested["state"]])
            _add_cells(table, {"child": branch, "state": state, "last exit": Text(rules, style="dim")})
            _add_branches(table, nested, supervisors, children, indent + ("   " if last else "│  "))
        else:
            _add_row(table, branch, children[child_id])


def _add_row(table: Table, name: str, one: dict[str, Any]) -> None:
    came_back = one.get("came_back_ms")
    last_exit = one.get("last_exit") or ""
    if last_exit and came_back is not None:
        last_exit += f", back in {came_back:.0f} ms"
    cells: dict[str, str | Text] = {
        "child": name,
        "state": Text(one["state"], style=_STATE_STYLES[one["state"]]),
        "pid": str(one["pid"] or ""),
        "life": f"#{one['incarnation']}",
        "up": _duration(one["uptime_s"]),
        "memory": f"{one['memory_bytes'] / 1e6:.0f} MB",
        "CPU": f"{one['cpu_s']:.1f} s",
        "mailbox": _bytes(one["mailbox_bytes"]) if "mailbox_bytes" in one else "",
        "last exit": Text(last_exit) if last_exit else Text(one.get("strategy", ""), style="dim"),
    }
    _add_cells(table, cells)


def _add_cells(table: Table, cells: dict[str, str | Text]) -> None:
    """Add a row with the cells that the table has a column for."""
    table.add_row(*(cells.get(str(column.header), "") for column in table.columns))


def _bytes(count: int) -> str:
    return f"{count / 1000:.0f} kB" if count else "empty"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return str(value) or '""'
