"""What commands show people: tables on stdout. Owns no facts; gets them as the JSON commands print.

rich draws the tables, because widths, wide characters and colours in terminals are a trade of their
own; it leaves colours away by itself where stdout is no terminal.
"""

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .config import Setting
from .exits import EXIT_DONE, Failure

WATCH_INTERVAL_S = 1.0
_STATE_STYLES = {"running": "green", "starting": "yellow", "stopping": "yellow", "stopped": "red"}


def show_status(status: dict[str, Any]) -> None:
    """The tree, and what it has done."""
    Console().print(_status(status))


def watch(ask: Callable[[], dict[str, Any]]) -> int:
    """Show the status again and again, until Ctrl-C."""
    with Live(auto_refresh=False) as live:
        while True:
            try:
                live.update(_status(ask()), refresh=True)
            except Failure as failure:
                live.update(Text(str(failure), style="red"), refresh=True)
            try:
                time.sleep(WATCH_INTERVAL_S)
            except KeyboardInterrupt:
                return EXIT_DONE


def show_config(settings: list[Setting]) -> None:
    """Every setting in force."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("setting", "value", "unit", "from"):
        table.add_column(name, no_wrap=True)
    table.add_column("expected", style="dim")
    for one in settings:
        changed = "" if one.source == "default" or one.is_default else "bold"
        table.add_row(
            Text(one.key), Text(_value(one.value), style=changed), one.unit, one.source, Text(one.expected)
        )
    Console().print(table)


def show_totals(rows: list[tuple[str, int, int]]) -> None:
    """Video, total, and what of it the client knows."""
    table = Table(box=None, pad_edge=False)
    table.add_column("video", no_wrap=True)
    table.add_column("plays", justify="right")
    table.add_column("published", justify="right")
    for video, total, published in rows:
        told = Text(f"{published:,}", style="" if published == total else "yellow")
        table.add_row(video, f"{total:,}", told)
    console = Console()
    console.print(table)
    plays = sum(total for _, total, _ in rows)
    console.print(f"{plays:,} plays of {len(rows):,} videos")


def _status(status: dict[str, Any]) -> Group:
    supervisor = status["supervisor"]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("child", "state", "pid", "incarnation", "restarts", "up", "last exit"):
        right = name in ("pid", "incarnation", "restarts", "up")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    table.add_row(
        Text("supervisor", style="bold"), Text("running", style="green"), str(supervisor["pid"]),
        "", "", _duration(supervisor["uptime_s"]), Text(supervisor["strategy"], style="dim"),
    )
    children = status["children"]
    for child in children:
        branch = "└─ " if child is children[-1] else "├─ "
        table.add_row(
            branch + child["id"],
            Text(child["state"], style=_STATE_STYLES[child["state"]]),
            str(child["pid"] or ""),
            f"#{child['incarnation']}",
            str(child["restarts"]),
            _duration(child["uptime_s"]),
            child["last_exit"] or "",
        )
    plays, publishes = status["plays"], status["publishes"]
    caught_up = (
        Text("caught up: nothing in flight, every play published", style="green")
        if status["caught_up"]
        else Text(
            f"{status['in_flight_messages']:,} messages in flight, "
            f"{status['pending_videos']:,} videos to publish", style="yellow",
        )
    )
    lines = [
        "",
        f"plays      {plays['counted']:,} counted, {plays['redelivered']:,} redeliveries dropped, "
        f"{plays['dead_lettered']:,} dead letters, {status['videos']:,} videos",
        f"publishes  {publishes['total']:,} of {publishes['videos']:,} videos: "
        f"{publishes['realtime']:,} realtime, {publishes['deadline']:,} deadline, "
        f"{publishes['overdue']:,} overdue, {publishes['drain']:,} drain; "
        f"{publishes['late']:,} late, {publishes['failed']:,} attempts failed",
    ]
    return Group(table, *(Text(line) for line in lines), caught_up)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if value not in ("", []) else '""' if value == "" else "[]"
