"""Prints tables on stdout for people. It gets the same data that commands print as JSON.

Text that people copy (a setting, an id, a path) is never cut. It continues on the next line, where stdout is
no terminal only after `PIPE_COLUMNS` characters. A table that is wider than the page is not squeezed: it
drops the columns that matter least. If no table fits, what it has is put into lines.
"""

from collections.abc import Collection
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..core.triggers import Trigger
from ..supervision.printable import printable_values
from . import changed
from .page import Page
from .tables import fitted, in_lines

REFUSED_SHOWN_MAX = 10
LABEL_COLUMNS = 10  # of the lines below the table of `status`
LAST_EXIT = "last exit"  # a column of `status` that is lines below the table on a narrow page
NUMBERS = ("pid", "life", "up", "memory", "CPU", "mailbox")
# The columns that a narrow page lacks, that which matters least first. `status --json` has them all.
LEAST_FIRST = (LAST_EXIT, "mailbox", "CPU", "memory", "up", "life", "pid")
_STATE_STYLES = {"running": "green", "starting": "yellow", "stopping": "yellow", "stopped": "red"}


def show_status(status: dict[str, Any]) -> None:
    """Print the tree of children, and the counts of plays and publishes."""
    page = Page()
    page.print(_status(status, page))


def _status(status: dict[str, Any], page: Page) -> Group:
    status = printable_values(status)
    table, lacking = fitted(lambda dropped: tree(status, dropped), LEAST_FIRST, page)
    exits = _last_exits(status) if LAST_EXIT in lacking else []
    plays, publishes = status["plays"], status["publishes"]
    shown = [name for name in Trigger if publishes[name] or name is not Trigger.REPUBLISH]
    triggers = ", ".join(f"{publishes[name]:,} {name}" for name in shown)
    lines = [
        "",
        *exits,
        (
            f"plays      {plays['counted']:,} counted of {status['videos']:,} videos; "
            f"{plays['redelivered']:,} redeliveries{_duplicates(plays)} dropped, "
            f"{plays['dead_lettered']:,} dead letters"
        ),
        *_oldest(plays["oldest_age_ms"]),
        f"publishes  {publishes['total']:,} of {publishes['videos']:,} totals: {triggers}",
        (
            f"           {publishes['late']:,} totals late, {publishes['late_by_client']:,} by the client; "
            f"{publishes['failed']:,} attempts failed, {publishes['rejected']:,} rejected"
        ),
    ]
    lines += changed.lines_of(status)
    if stored := [one for one in status["children"] if one["store_bytes"]]:
        sizes = ", ".join(f"{one['id']} {one['store_bytes'] / 1e6:.1f} MB" for one in stored)
        lines.append(f"stores     {sizes}")
    lines += [f"disk       {one}" for one in nearly_full(status)]
    client = status["client"]
    if client["failures_in_a_row"]:
        circuit = "" if client["circuit"] == "closed" else f"; circuit {client['circuit'].replace('_', ' ')}"
        lines.append(f"client     failed {client['failures_in_a_row']:,} times in a row{circuit}")
    lines += _refused(status["refused_videos"], status["refused_videos_total"])
    if dropped := status["log_lines_dropped"]:
        lines.append(f"log        {dropped:,} lines dropped, because stderr could not be written")
    shown_tree = in_lines(tree(status, {LAST_EXIT})) if table is None else table
    return Group(shown_tree, _beside_labels([*lines, *_nsqds(status["nsq"])]), _progress(status))


def _duplicates(plays: dict[str, Any]) -> str:
    return f" and {plays['duplicates']:,} duplicates" if plays.get("duplicates") else ""


def _beside_labels(lines: list[str]) -> Table:
    """Put the text of each line beside its label, so that it continues there."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True, min_width=LABEL_COLUMNS)
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(Text(line[:LABEL_COLUMNS].rstrip()), Text(line[LABEL_COLUMNS + 1 :]))
    return table


def tree(status: dict[str, Any], dropped: Collection[str] = ()) -> Table:
    """The tree of processes, without the columns in `dropped`."""
    gap = 1 if LAST_EXIT in dropped else 2
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, gap, 0, 0))
    for name in ("child", "state", *NUMBERS, LAST_EXIT):
        if name not in dropped:
            table.add_column(name, justify="right" if name in NUMBERS else "left", no_wrap=True)
    _add_row(table, "supervisor", {"state": "running", "incarnation": 1, **status["supervisor"]})
    children = {child["id"]: child for child in status["children"]}
    supervisors = {one["id"]: one for one in status["supervisors"]}
    _add_branches(table, supervisors["root"], supervisors, children, "")
    return table


def _last_exits(status: dict[str, Any]) -> list[str]:
    """In place of the column: the rules of each supervisor, and a line for each child that has ended."""
    rules = [f"{one['id']}: {_rules(one)}" for one in status["supervisors"]]
    found = [f"{one['id']}: {_last_exit(one)}" for one in status["children"] if one["last_exit"]]
    return [
        f"{'' if number else title:<10} {line}"
        for title, lines in (("restarts", rules), (LAST_EXIT, found))
        for number, line in enumerate(lines)
    ]


def _last_exit(one: dict[str, Any]) -> str:
    back_ms = one.get("came_back_ms")
    return f"{one['last_exit']['how']}" + ("" if back_ms is None else f", back in {back_ms:.0f} ms")


def _rules(supervisor: dict[str, Any]) -> str:
    return f"{supervisor['strategy']}, {supervisor['max_restarts']} in {supervisor['max_seconds']:g} s"


def _refused(videos: list[dict[str, Any]], total: int) -> list[str]:
    """One line for each of the first videos that the client refuses."""
    lines = [
        f"{one['video_id']} with {one['plays']:,} plays, {one['attempts']:,} times: {one['answer']}; "
        f"tried again in {duration(one['next_attempt_s'])}"
        for one in videos[:REFUSED_SHOWN_MAX]
    ]
    if total > len(lines):
        lines.append(f"and {total - len(lines):,} more")
    return [f"{'' if number else 'refused':<10} {line}" for number, line in enumerate(lines)]


def _identity(nsqd: dict[str, Any]) -> str:
    """By what the messages of an nsqd are known when they come again."""
    node = f"node id {nsqd['node_id']}"
    match nsqd["identity"]:
        case "node id":
            return node
        case "node id and host name":
            return f"{node} at {nsqd['hostname']}"
        case _:
            return f"its address alone ({node} is another's too)"


def _nsqds(nsq: dict[str, Any]) -> list[str]:
    """One line for each nsqd, and one if others read our channel."""
    lines = []
    for nsqd in nsq["nsqds"]:
        depth = "its depth is not known" if nsqd["depth"] is None else f"depth {nsqd['depth']:,}"
        if wrong := nsqd.get("wrong_http_address"):
            depth += f" ({wrong} is the HTTP of another nsqd: see nsq.nsqd_http_addresses)"
        age = "" if nsqd["last_age_ms"] is None else f", last {nsqd['last_age_ms'] / 1000:.1f} s old"
        state = "connected" if nsqd["connected"] else "NOT connected"
        state += f", known by {_identity(nsqd)}" if nsqd.get("node_id") is not None else ""
        lines.append(
            f"{nsqd['address']} {state}, RDY {nsqd['rdy']:,}, {nsqd['in_flight']:,} in flight, {depth}{age}"
        )
    if others := nsq["others_on_channel"]:
        lines.append(f"other consumers on our channel: {others:,}, which take a part of the plays")
    return [f"{'' if number else 'nsqd':<10} {line}" for number, line in enumerate(lines)]


def _oldest(age_ms: int) -> list[str]:
    """The line that says how long plays wait on the queue; none if no play of the last minute waited."""
    return [f"           the oldest of the last minute was {duration(age_ms / 1000)} old"] if age_ms else []


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
            state = Text(nested["state"], style=_STATE_STYLES[nested["state"]])
            _add_cells(
                table, {"child": branch, "state": state, "last exit": Text(_rules(nested), style="dim")}
            )
            _add_branches(table, nested, supervisors, children, indent + ("   " if last else "│  "))
        else:
            _add_row(table, branch, children[child_id])


def _add_row(table: Table, name: str, one: dict[str, Any]) -> None:
    last_exit = _last_exit(one) if one.get("last_exit") else ""
    cells: dict[str, str | Text] = {
        "child": name,
        "state": Text(one["state"], style=_STATE_STYLES[one["state"]]),
        "pid": str(one["pid"] or ""),
        "life": f"#{one['incarnation']}",
        "up": duration(one["uptime_s"]),
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


def nearly_full(status: dict[str, Any]) -> list[str]:
    """The disks of a status that are nearly full."""
    return [
        f"of {one['place']}: {one['full']:.0%} full, {one['free_bytes'] / 1e6:,.1f} MB free"
        for one in status["disks"]
        if one["nearly_full"]
    ]


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, in words."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
