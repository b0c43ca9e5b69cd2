"""The operator's page in the terminal: what `status --watch` shows, in the room that is there. Pure.

What is wrong is above what is usual. The tree has the last lines. If they are too few for it, it lacks
children that run and never ended, and the page says how many.
"""

from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from ..core.triggers import Trigger
from ..core.words import counted
from ..supervision.printable import printable, printable_values
from .page import Page
from .plain_page import fitted
from .rates import Rates
from .status_page import LEAST_FIRST, duration, nearly_full, tree
from .tables import table_of

LABEL_COLUMNS = 14
BARS_MAX = 120  # ten minutes
FIGURE_COLUMNS = 9
GONE_STYLE, WRONG_STYLE, FINE_STYLE, LABEL_STYLE = "bold red", "yellow", "green", "dim"


class Seen(NamedTuple):
    """What is known. `status`: the last answer, at `seen_s`; `failure`: why none comes, or ""."""

    status: dict[str, Any] | None
    seen_s: float
    failure: str
    rates: Rates


def watch_page(seen: Seen, now_s: float, page: Page) -> RenderableType:
    """Return what to show on a page with its width and height. `now_s`: seconds since 1970."""
    width, height = page.size
    head = _head(seen, now_s, width)
    if seen.status is None:
        return _cut(head, width, height)
    status = printable_values(seen.status)
    lines = [*head, *_rates(seen, now_s, width), *_work(status), *_wrong(status)]
    rows = 1 + len(status["children"]) + len(status["supervisors"])  # the head, and the service for the root
    if rows < height - len(lines):
        lines.append(Text())
    shown_tree = _tree(status, rows - (height - len(lines)), page)
    return Group(_cut(lines, width, height), *shown_tree)


def _cut(lines: list[Text], width: int, height: int) -> Text:
    for one in lines:
        one.truncate(width, overflow="ellipsis")
    return Text("\n", no_wrap=True).join(lines[:height])


def _head(seen: Seen, now_s: float, width: int) -> list[Text]:
    quits = "q quits"
    if seen.status is None:
        name = "playtally"
    else:
        name = f"playtally, up {duration(seen.status['supervisor']['uptime_s'])}"
    first = Text(f"{name}{quits.rjust(max(1, width - len(name)))}", style="bold")
    if seen.failure:
        old = (
            f"; below is what it said {duration(now_s - seen.seen_s)} ago" if seen.status is not None else ""
        )
        again = Text(f"trying again{old}", style=GONE_STYLE)
        return [first, again, *_wrapped(Text(printable(seen.failure)), width, 3)]
    if seen.status is None:
        return [first, Text("asking the service …")]
    if seen.status["caught_up"]:
        return [first, Text("caught up: every play published", style=FINE_STYLE)]
    reasons = printable(", ".join(seen.status["why_not_caught_up"]))
    return [first, *_wrapped(Text(f"not caught up: {reasons}", style=WRONG_STYLE), width, 2)]


def _wrapped(text: Text, width: int, lines_max: int) -> list[Text]:
    """The first lines of a text; the last one has the rest, to be cut."""
    words, lines = text.plain.split(" "), [""]
    for word in words:
        longer = f"{lines[-1]} {word}".strip()
        if len(longer) > width and lines[-1] and len(lines) < lines_max:
            lines.append(word)
        else:
            lines[-1] = longer
    return [Text(one, style=text.style) for one in lines]


def _rates(seen: Seen, now_s: float, width: int) -> list[Text]:
    columns = max(0, min(BARS_MAX, width - LABEL_COLUMNS - FIGURE_COLUMNS))
    present = seen.rates.present(now_s)
    figures = ("", "") if present is None else (f"{present[0]:,.0f}", f"{present[1]:,.0f}")
    named = (("plays/s", seen.rates.plays), ("publishes/min", seen.rates.publishes))
    return [
        Text.assemble(
            (label.ljust(LABEL_COLUMNS), LABEL_STYLE),
            (bars(now_s, columns), "cyan"),
            figure.rjust(FIGURE_COLUMNS),
        )
        for (label, bars), figure in zip(named, figures, strict=True)
    ]


def _work(status: dict[str, Any]) -> list[Text]:
    plays, publishes, nsq = status["plays"], status["publishes"], status["nsq"]
    triggers = ", ".join(f"{publishes[one]:,} {one}" for one in Trigger if publishes[one])
    connected = sum(one["connected"] for one in nsq["nsqds"])
    oldest = plays["oldest_age_ms"] / 1000
    old = f"; plays came up to {duration(oldest)} old" if oldest else ""
    return [
        _line("plays", f"{plays['counted']:,} of {counted(status['videos'], 'video')}"),
        _line("publishes", f"{publishes['total']:,}{': ' if triggers else ''}{triggers}"),
        _line("pending", f"{counted(status['pending_videos'], 'video')}{old}"),
        _line(
            "queue",
            f"depth {nsq['depth']:,}, {status['in_flight_messages']:,} in flight, "
            f"{connected:,} of {counted(len(nsq['nsqds']), 'nsqd')} connected",
        ),
    ]


def _line(label: str, text: str, style: str = "") -> Text:
    return Text.assemble((label.ljust(LABEL_COLUMNS), LABEL_STYLE), (text, style))


def _wrong(status: dict[str, Any]) -> list[Text]:
    """One line for each kind of trouble that there is."""
    plays, publishes, client = status["plays"], status["publishes"], status["client"]
    lost = [one["address"] for one in status["nsq"]["nsqds"] if not one["connected"]]
    found = [("nsqd", f"not connected: {', '.join(lost)}" if lost else "")]
    if others := status["nsq"]["others_on_channel"]:
        found.append(("channel", f"{others:,} consumers of others take a part of the plays"))
    if failures := client["failures_in_a_row"]:
        circuit = str(client["circuit"]).replace("_", " ")
        found.append(("client", f"failed {failures:,} times in a row; circuit {circuit}"))
    if refused := status["refused_videos_total"]:
        found.append(("client", f"refuses {counted(refused, 'video')}"))
    paused = [name for name, is_paused in status.get("paused", {}).items() if is_paused]
    found.append(("paused", ", ".join(paused)))
    odd = {
        "late": publishes["late"],
        "late by the client": publishes["late_by_client"],
        "attempts failed": publishes["failed"],
        "rejected": publishes["rejected"],
        "dead letters": plays["dead_lettered"],
        "log lines dropped": status["log_lines_dropped"],
    }
    found.append(("so far", ", ".join(f"{count:,} {what}" for what, count in odd.items() if count)))
    found += [("disk", one) for one in nearly_full(status)]
    return [_line(label, text, "" if label == "so far" else WRONG_STYLE) for label, text in found if text]


def _tree(status: dict[str, Any], surplus: int, page: Page) -> list[RenderableType]:
    """The tree, with this many lines fewer, if that can be: of what is calm, counters are left out first."""
    nested = {one["id"]: one["children"] for one in status["supervisors"]}
    counters = set(nested.get("counters", ()))
    calm = [one["id"] for one in status["children"] if one["state"] == "running" and not one["last_exit"]]
    calm.sort(key=counters.__contains__)
    # One more: the line that says how many.
    hidden = calm[max(0, len(calm) - surplus - 1) :] if surplus > 0 else []
    shown = {**status, "supervisors": [_without(one, hidden) for one in status["supervisors"]]}
    grid, _ = fitted(lambda dropped: tree(shown, dropped), LEAST_FIRST, page.width)
    more = [Text(f"and {len(hidden):,} more, all running", style=LABEL_STYLE)] if hidden else []
    if grid is None:
        return [Text("\n".join(tree(shown, LEAST_FIRST).in_lines())), *more]
    return [table_of(grid), *more]


def _without(supervisor: dict[str, Any], hidden: list[str]) -> dict[str, Any]:
    return {**supervisor, "children": [one for one in supervisor["children"] if one not in hidden]}
