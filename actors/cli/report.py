"""The demo's report: the facts of a run, and whether every promise was kept.

It judges by what the client received. The service's own count of late totals must be 0 too.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from ..config import BATCH_SIZE_MAX
from ..core.triggers import Trigger
from ..system.installation import INSTALLED, ROOT, producer_command, service_command
from .audit_run import Result
from .page import Page
from .tables import fits

REALTIME_PATIENCE_S = 1.0


class DemoRun(msgspec.Struct, kw_only=True):
    """The facts of one run of the demo.

    `manifest`: the producer's, with the plays that the queue acknowledged. `status`: the service's. `report`:
    the reference client's. `told`: the totals that the client has. `economy`: the verdict of the audit.
    `count_seconds`: until every play was counted. `produce_seconds`: the time over which plays were spread;
    0 means as fast as possible.
    """

    manifest: dict[str, Any]
    status: dict[str, Any]
    report: dict[str, Any]
    told: dict[str, int]
    publishes: list[dict[str, Any]]
    economy: Result
    count_seconds: float
    produce_seconds: float
    deadline_s: float
    realtime_below: int
    exit_code: int = 0


class JudgedPromise(msgspec.Struct, frozen=True):
    """One promise, whether it held, and the fact that shows it."""

    promise: str
    held: bool
    shown_by: str


def findings(run: DemoRun) -> list[JudgedPromise]:
    """Judge every promise of the service by what the client received."""
    report, expected = run.report, run.manifest["totals"]
    broken = report["promises_broken_by_promise"]
    wrong = sum(run.told.get(video) != total for video, total in expected.items())
    wrong += sum(video not in expected for video in run.told)
    widest = max((len(publish["videos"]) for publish in run.publishes), default=0)
    late = run.status["publishes"]["late"]
    quiet, hot = report["realtime_latency_ms"], report["hot_lateness_ms"]
    # If plays were produced as fast as possible, a play may also wait behind the queue's backlog.
    patience_s = REALTIME_PATIENCE_S + (0 if run.produce_seconds else run.count_seconds)
    return [
        JudgedPromise(
            "every play counted exactly once",
            wrong == 0 and sum(run.told.values()) == run.manifest["plays"],
            f"{len(expected)} of the producer's totals compared with the client's, {wrong} differ",
        ),
        JudgedPromise(
            f"at most {BATCH_SIZE_MAX} videos per publish, each once",
            widest <= BATCH_SIZE_MAX and not broken["width"] and not broken["once_a_batch"],
            f"the widest of {len(run.publishes)} publishes had {widest} videos",
        ),
        JudgedPromise(
            "only totals that changed, none ever falls",
            not broken["only_changed"] and not broken["never_falls"] and not broken["one_content_a_key"],
            f"{report['videos_published']:,} totals compared with the one before",
        ),
        JudgedPromise(
            f"under {run.realtime_below} plays: published as received",
            not quiet["count"] or quiet["max"] <= patience_s * 1000,
            f"{quiet['count']:,} such totals, the slowest arrived {quiet['max']:,.0f} ms after its play"
            if quiet["count"]
            else "no such total",
        ),
        JudgedPromise(
            f"{run.realtime_below} or more: within {run.deadline_s:g} s of arrival",
            not broken["deadline"] and not late,
            f"the oldest play was {hot['max'] / 1000:.2f} s old when the client had it"
            if hot["count"]
            else "no such total",
        ),
        JudgedPromise("ends in order", run.exit_code == 0, f"exit code {run.exit_code}"),
    ]


def render(run: DemoRun, found: list[JudgedPromise]) -> None:
    """Print the report on stdout."""
    console = Page()
    console.print(Text("\nplaytally, the whole job", style="bold"))
    console.print(_facts(run))
    console.print()
    promises = Table(box=None, pad_edge=False, show_header=False)
    for finding in found:
        mark = Text("held", style="green") if finding.held else Text("BROKEN", style="bold red")
        promises.add_row(mark, Text(finding.promise).append(f"\n{finding.shown_by}", style="dim"))
    console.print(promises)
    broken = [finding for finding in found if not finding.held]
    console.print(
        Text(f"\npromises broken: {len(broken) or 'none'}", style="bold red" if broken else "bold green")
    )
    console.print(Text("\nwhere next", style="bold"))
    ways = Table(box=None, pad_edge=False, show_header=False)
    for way, shows in _where_next():
        ways.add_row(Text(way), Text(shows, style="dim"))
    if fits(ways, console):
        console.print(ways)
    else:
        for way, shows in _where_next():
            console.print(Text(way), Text(f"    {shows}", style="dim"), sep="\n")


def _facts(run: DemoRun) -> Table:
    """What was played and published, one row for each fact."""
    report, publishes = run.report, run.status["publishes"]
    plays = run.manifest["plays"]
    rows = Table(box=None, pad_edge=False, show_header=False)
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column()
    pace = f"{plays / run.count_seconds:,.0f} plays/s" if run.count_seconds else "at once"
    counted = f"counted in {run.count_seconds:.2f} s ({pace})"
    rows.add_row("plays", f"{plays:,} of {len(run.told)} videos, {counted}")
    by_trigger = ", ".join(f"{publishes[name]} {name}" for name in Trigger if publishes[name])
    rows.add_row("publishes", f"{publishes['total']} ({by_trigger})")
    width, plays_each = report["videos_per_publish"]["mean"], report["plays_per_publish"]
    rows.add_row(
        "videos per publish", f"{width:.1f} of {BATCH_SIZE_MAX}; {plays_each:,.0f} plays per publish"
    )
    _add_economy(rows, run)
    quiet, hot = report["realtime_latency_ms"], report["hot_lateness_ms"]
    if quiet["count"]:
        rows.add_row(
            "realtime latency",
            f"p50 {quiet['p50']:,.1f} ms, p99 {quiet['p99']:,.1f} ms from the queue to the client"
            + (", the queue's backlog included" if run.produce_seconds == 0 else ""),
        )
    if hot["count"]:
        rows.add_row("oldest hot play", f"{hot['max'] / 1000:.2f} s when the client had it")
    return rows


def _add_economy(rows: Table, run: DemoRun) -> None:
    """Add rows that compare the number of publishes with the fewest possible and with simpler ways."""
    economy = run.economy
    rows.add_row(
        "fewest possible",
        f"{economy.bound:,}, for someone who knows all plays in advance; playtally does not know them, "
        f"publishes each total when it is due, and made {economy.publishes:,}{_times(economy.ratio)}",
    )
    rows.add_row("spare capacity", f"{economy.places_empty:,} of {economy.places:,} places were left empty")
    rows.add_row(
        "against one per play",
        f"{economy.one_a_play:,} publishes: {economy.one_a_play / economy.publishes:,.0f} times as many",
    )
    rows.add_row(
        f"against a {run.deadline_s:g} s timer",
        f"{economy.plain_timer:,} publishes, but a quiet video's play then waits up to {run.deadline_s:g} s",
    )


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f" ({ratio:.1f} times as many)"


def _where_next() -> list[tuple[str, str]]:
    """What to run next, and what it shows. `make demo` does not put .venv on PATH, so paths are shown."""
    run = service = service_command()
    producer = producer_command()
    if not INSTALLED and Path(sys.prefix).resolve() == (ROOT / ".venv").resolve():
        run, service, producer = "make run", f".venv/bin/{service}", f".venv/bin/{producer}"
    return [
        (run, "the service, until Ctrl-C"),
        ("http://127.0.0.1:8080/", "its page of totals, live"),
        (f"{producer} --seconds 60", "a load for it"),
        (f"{service} status", "its tree and what it has done"),
        (f"{service} kill counter-0", "and watch it come back"),
    ]
