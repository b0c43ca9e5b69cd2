"""What `status` prints for people: the tree of processes, the counts, and whether all is published.

It gets the same data that `status --json` prints. Text that people copy is never cut.
"""

from collections.abc import Collection, Iterator
from typing import Any

from ..core.triggers import Trigger
from ..supervision.printable import printable_values
from . import changed
from .plain_page import Cell, Column, Grid, PlainPage, fitted, folded

REFUSED_SHOWN_MAX = 10
LABEL_COLUMNS = 10  # of the lines below the table of `status`
LAST_EXIT = "last exit"  # a column of `status` that is lines below the table on a narrow page
NUMBERS = ("pid", "life", "up", "memory", "CPU", "mailbox")
# The columns that a narrow page lacks, that which matters least first. `status --json` has them all.
LEAST_FIRST = (LAST_EXIT, "mailbox", "CPU", "memory", "up", "life", "pid")
_STATE_STYLES = {"running": "green", "starting": "yellow", "stopping": "yellow", "stopped": "red"}


def show_status(status: dict[str, Any]) -> None:
    """Print the tree of children, and the counts of plays and publishes."""
    page = PlainPage()
    status = printable_values(status)
    shown, lacking = fitted(lambda dropped: tree(status, dropped), LEAST_FIRST, page.width)
    if shown is not None:
        for row in shown.lines():
            page.print(row)
    else:
        for line in tree(status, {LAST_EXIT}).in_lines():
            _print_folded(page, line)
    for line in _lines(status, LAST_EXIT in lacking):
        label, text = line[:LABEL_COLUMNS], line[LABEL_COLUMNS + 1 :]
        for number, part in enumerate(folded(text, max(1, page.width - LABEL_COLUMNS - 1))):
            page.print([Cell(f"{'' if number else label:<{LABEL_COLUMNS}} {part}")])
    text, style = _progress(status)
    _print_folded(page, text, style)


def _print_folded(page: PlainPage, text: str, style: str = "") -> None:
    for part in folded(text, page.width):
        page.print([Cell(part, style)])


def _lines(status: dict[str, Any], with_exits: bool) -> list[str]:
    """The lines below the tree: a label of `LABEL_COLUMNS`, a space, and a text."""
    exits = _last_exits(status) if with_exits else []
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
    return [*lines, *_nsqds(status["nsq"])]


def _duplicates(plays: dict[str, Any]) -> str:
    return f" and {plays['duplicates']:,} duplicates" if plays.get("duplicates") else ""


def tree(status: dict[str, Any], dropped: Collection[str] = ()) -> Grid:
    """The tree of processes, without the columns in `dropped`."""
    columns = [
        Column(one, one in NUMBERS) for one in ("child", "state", *NUMBERS, LAST_EXIT) if one not in dropped
    ]
    children = {child["id"]: child for child in status["children"]}
    supervisors = {one["id"]: one for one in status["supervisors"]}
    root = {"state": "running", "incarnation": 1, **status["supervisor"]}
    rows = [_row("supervisor", root), *_branches(supervisors["root"], supervisors, children, "")]
    cells = [[row.get(column.name, Cell()) for column in columns] for row in rows]
    return Grid(columns, cells, 1 if LAST_EXIT in dropped else 2)


def _branches(
    supervisor: dict[str, Any], supervisors: dict[str, Any], children: dict[str, Any], indent: str
) -> Iterator[dict[str, Cell]]:
    for child_id in supervisor["children"]:
        last = child_id == supervisor["children"][-1]
        branch = indent + ("└─ " if last else "├─ ") + child_id
        if child_id in supervisors:
            nested = supervisors[child_id]
            state = Cell(nested["state"], _STATE_STYLES[nested["state"]])
            yield {"child": Cell(branch), "state": state, LAST_EXIT: Cell(_rules(nested), "dim")}
            yield from _branches(nested, supervisors, children, indent + ("   " if last else "│  "))
        else:
            yield _row(branch, children[child_id])


def _row(name: str, one: dict[str, Any]) -> dict[str, Cell]:
    last_exit = Cell(_last_exit(one)) if one.get("last_exit") else Cell(one.get("strategy", ""), "dim")
    mailbox = _bytes(one["mailbox_bytes"]) if "mailbox_bytes" in one else ""
    return {
        "child": Cell(name),
        "state": Cell(one["state"], _STATE_STYLES[one["state"]]),
        "pid": Cell(str(one["pid"] or "")),
        "life": Cell(f"#{one['incarnation']}"),
        "up": Cell(duration(one["uptime_s"])),
        "memory": Cell(f"{one['memory_bytes'] / 1e6:.0f} MB"),
        "CPU": Cell(f"{one['cpu_s']:.1f} s"),
        "mailbox": Cell(mailbox),
        LAST_EXIT: last_exit,
    }


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


def _progress(status: dict[str, Any]) -> tuple[str, str]:
    """Say that every play is published, or what is still to do. Returns it with its colour."""
    if not status["caught_up"]:
        return f"not caught up: {', '.join(status['why_not_caught_up'])}", "yellow"
    if status["caught_up_is"] == "queue":
        return "caught up: nothing in flight, every play published", "green"
    unknown = "but not every nsqd says what waits there (nsq.nsqd_http_addresses)"
    return f"caught up: nothing in flight, every play published, {unknown}", "yellow"


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
