"""Audits a recorded run: was every promise kept, and how close was it to the fewest possible publishes?

It judges only with `core/client/audit.py` and `core/client/bound.py`. They share no rule with the code that
publishes.
"""

import argparse
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec import Struct
from rich.table import Table
from rich.text import Text

from ..config import Settings
from ..config.promises import promises_of
from ..core.client.audit import Audit, Verdict
from ..core.client.bound import Demand, Mode, Play, demand, needed, publishes_min, timer_publishes
from ..core.client.promises import Broken, Promise, Promises, Publish
from ..core.triggers import Trigger
from ..supervision.printable import printable
from ..supervision.standard_streams import print_json
from ..system.exits import EXIT_DONE, EXIT_FAILED
from .page import Page
from .recordings import Received, read_plays, read_publishes

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
BROKEN_SHOWN_MAX = 5


class _Total(NamedTuple):
    """A video's total in a publish, larger than all totals before. Times are in ns.

    `received`: when the client received it. `offered`: when the client would have received it without the
    delays that the client caused.
    """

    total: int
    received: int
    offered: int
    overdue: bool


class _FirstTold(NamedTuple):
    """A play, and the first total that includes it among those that the client received."""

    play: Play
    told: _Total


class _Replay(NamedTuple):
    """What the publishes of a recording say.

    `totals`: the growing totals of each video, in the order received. `first_told`: the oldest play that each
    total added. A publish carries the arrival time of that play only. `timed`: whether every publish was
    recorded with its time.
    """

    audit: Audit
    totals: dict[str, list[_Total]]
    first_told: list[_FirstTold]
    timed: bool


class Result(Struct, frozen=True, kw_only=True):
    """A verdict on a recording. `ratio` is None for a bound of 0, `realtime_slowest_ms` without times."""

    publishes: int
    by_trigger: dict[str, int]
    duplicates: int
    totals_told: int
    videos: int
    plays: int
    plays_recorded: bool
    times_recorded: bool
    bound: int
    bound_linger_ms: float
    ratio: float | None
    one_a_play: int
    plain_timer: int
    deadline_s: float
    places: int
    places_empty: int
    publishes_full: int
    realtime_slowest_ms: float | None
    promises_broken: dict[str, int]
    broken: list[Broken]

    @property
    def held(self) -> bool:
        """Whether the recording shows no broken promise."""
        return not any(self.promises_broken.values())


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Read, judge and print a recording. Returns 0 if every promise was kept, else 1. Raises `Failure`."""
    dispatch, promises = settings.dispatch, promises_of(settings)
    if options.deadline_s is not None:
        promises = msgspec.structs.replace(promises, deadline_s=options.deadline_s)
    received = read_publishes(options.publishes, options.record)
    plays = read_plays(options.plays) if options.plays is not None else None
    result = examine(
        received,
        plays,
        promises,
        options.linger_ms,
        realtime_linger_ms=float(dispatch.realtime_linger_ms),
        overdue_linger_ms=float(dispatch.overdue_linger_ms),
    )
    if options.json:
        print_json(msgspec.to_builtins(result) | {"held": result.held})
    else:
        show(result)
    return EXIT_DONE if result.held else EXIT_FAILED


def examine(
    received: list[Received],
    plays: list[Play] | None,
    promises: Promises,
    linger_ms: float | None = None,
    *,
    realtime_linger_ms: float = 0,
    overdue_linger_ms: float = 0,
) -> Result:
    """Judge a recording. `plays`: None if they were not recorded.

    `linger_ms`: how long the bound lets a realtime play wait. None means as long as the slowest realtime play
    of this recording, or `realtime_linger_ms` if the recording has no times.
    """
    replay = _replay(received, promises)
    first_told = replay.first_told if plays is None else list(_match(plays, replay.totals))
    slowest_ms = _realtime_slowest_ms(first_told, promises) if replay.timed else None
    if linger_ms is None:
        linger_ms = realtime_linger_ms if slowest_ms is None else slowest_ms
    mode = _mode(promises, linger_ms, overdue_linger_ms)
    bound = publishes_min(needed(_granted(one, mode) for one in first_told), promises.batch_size_max)
    audit, statistics = replay.audit, replay.audit.statistics
    publishes, played = statistics.publishes_total(), audit.plays if plays is None else len(plays)
    totals_told = sum(width * count for width, count in statistics.widths.items())
    places = publishes * promises.batch_size_max
    return Result(
        publishes=publishes,
        by_trigger={trigger.value: count for trigger, count in statistics.publishes.items()},
        duplicates=statistics.duplicates,
        totals_told=totals_told,
        videos=len(replay.totals),
        plays=played,
        plays_recorded=plays is not None,
        times_recorded=replay.timed,
        bound=bound,
        bound_linger_ms=linger_ms,
        ratio=round((publishes - statistics.publishes[Trigger.REPUBLISH]) / bound, 4) if bound else None,
        one_a_play=played,
        plain_timer=statistics.timer.publishes(promises) if plays is None else timer_publishes(plays, mode),
        deadline_s=promises.deadline_s,
        places=places,
        places_empty=max(0, places - totals_told),
        publishes_full=sum(n for width, n in statistics.widths.items() if width >= promises.batch_size_max),
        realtime_slowest_ms=slowest_ms,
        promises_broken=_broken(replay, plays, first_told, promises),
        broken=audit.broken[:BROKEN_SHOWN_MAX],
    )


def show(result: Result) -> None:
    """Print the result as a table for people."""
    page = Page()
    rows = Table(box=None, pad_edge=False, show_header=False)
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column()
    triggers = ", ".join(f"{count:,} {name}" for name, count in result.by_trigger.items() if count)
    again = f"; {result.duplicates:,} more came again with a known key" if result.duplicates else ""
    source = "recorded" if result.plays_recorded else "taken from the totals"
    rows.add_row("plays", f"{result.plays:,} of {result.videos:,} videos, {source}")
    rows.add_row("publishes", f"{result.publishes:,} ({triggers or 'none'}){again}")
    rows.add_row("fewest possible", _bound(result))
    rows.add_row("one per play", f"{result.one_a_play:,}")
    timer = f"{result.plain_timer:,}, but the plays of a quiet video wait for the timer"
    rows.add_row(f"a {result.deadline_s:g} s timer", timer)
    share = result.places_empty / result.places if result.places else 0
    rows.add_row(
        "places",
        f"{result.places_empty:,} of {result.places:,} empty ({share:.1%}); "
        f"{result.publishes_full:,} publishes were full",
    )
    if result.realtime_slowest_ms is not None:
        rows.add_row("slowest realtime", f"{result.realtime_slowest_ms:,.1f} ms")
    page.print(rows)
    for name, count in result.promises_broken.items():
        if count:
            page.print(Text(f"BROKEN {name}: {count:,}", style="bold red"))
    for one in result.broken:
        text = f"  {one.batch} {one.video_id or ''}: expected {one.expected}, found {one.found}"
        page.print(Text(printable(text)))
    if result.held:
        blind = "" if result.times_recorded else ", as far as a recording without times can show"
        page.print(Text(f"every promise was kept{blind}", style="bold green"))


def _bound(result: Result) -> str:
    ratio = f"; the run did not know them, and made {result.ratio:.1f} times as many" if result.ratio else ""
    waited = f"if each realtime play is published within {result.bound_linger_ms:,.1f} ms"
    return f"{result.bound:,} for someone who knows all plays in advance, {waited}{ratio}"


def _replay(received: list[Received], promises: Promises) -> _Replay:
    """Give each publish of a recording to a new audit."""
    audit = Audit(promises, keys_max=len(received) + 1)
    timed = all(one.received_at_ns is not None for one in received)
    replay = _Replay(audit, {}, [], timed)
    now = 0
    for publish, received_at_ns, held_up_ms in received:
        # Without a recorded time, take the earliest possible one: the newest arrival in the publish.
        newest = max((entry.arrived_at_ns for entry in publish.videos), default=0)
        now = max(now, newest) if received_at_ns is None else received_at_ns
        if audit.receive(publish, now, held_up_ms).verdict is Verdict.ACCEPTED:
            _add_totals(replay, publish, now, now - held_up_ms * NS_PER_MS, promises)
    return replay


def _add_totals(replay: _Replay, publish: Publish, now: int, offered: int, promises: Promises) -> None:
    for entry in publish.videos:
        before = replay.totals.setdefault(entry.video_id, [])
        last = before[-1].total if before else 0
        if entry.plays <= last:
            continue
        if publish.trigger is Trigger.REPUBLISH:  # it demands nothing: the client had the total before
            before.append(_Total(entry.plays, now, offered, True))
            continue
        # The oldest play that a total adds is number `last + 1`. But a recording may begin after a video's
        # first plays were published. Then the first recorded total did not add play 1. So if it is
        # `realtime_below` or more, its oldest play counts as not realtime.
        total = entry.plays if not before and entry.plays >= promises.realtime_below else last + 1
        told = _Total(entry.plays, now, offered, entry.overdue or publish.trigger == Trigger.OVERDUE)
        before.append(told)
        play = Play(entry.video_id, entry.arrived_at_ns, entry.arrived_at_ns, total)
        replay.first_told.append(_FirstTold(play, told))


def _match(plays: list[Play], totals: dict[str, list[_Total]]) -> Iterator[_FirstTold]:
    """Each recorded play that was published to the client, with the first total that includes it."""
    for play in plays:
        of_video = totals.get(str(play.video), [])
        at = bisect_left(of_video, play.total, key=lambda one: one.total)
        if at < len(of_video):
            yield _FirstTold(play, of_video[at])


def _broken(
    replay: _Replay, plays: list[Play] | None, first_told: list[_FirstTold], promises: Promises
) -> dict[str, int]:
    """How often each promise was broken. `plays`, if they were recorded, also show plays that were never
    published, totals that are too high, and more late plays.
    """
    broken = {promise.value: count for promise, count in replay.audit.statistics.broken.items()}
    if plays is not None:
        last = {video: of_video[-1].total for video, of_video in replay.totals.items() if of_video}
        broken["every_play_told"] = sum(last.get(str(play.video), 0) < play.total for play in plays)
        broken["no_more_than_played"] = _excess(plays, last)
        late = sum(_is_late(one, promises) for one in first_told) if replay.timed else 0
        broken[Promise.DEADLINE.value] = max(broken[Promise.DEADLINE.value], late)
    return broken


def _realtime_slowest_ms(first_told: list[_FirstTold], promises: Promises) -> float:
    """The longest time from the receipt of a realtime play until the client had it, in ms."""
    waits = (
        told.received - play.received for play, told in first_told if play.total < promises.realtime_below
    )
    return max(0, max(waits, default=0)) / NS_PER_MS


def _mode(promises: Promises, linger_ms: float, overdue_linger_ms: float) -> Mode:
    return Mode(
        deadline=round(promises.deadline_s * NS_PER_S),
        realtime_linger=round(linger_ms * NS_PER_MS),
        overdue_linger=round(overdue_linger_ms * NS_PER_MS),
        realtime_below=promises.realtime_below,
        batch_size_max=promises.batch_size_max,
        every_play=promises.every_play,
    )


def _granted(first_told: _FirstTold, mode: Mode) -> Demand:
    """The demand of a play, extended to include the moment when the client received its total in this run.

    So the run itself meets every demand, and the bound can't be above the number of publishes in the run.
    """
    one, received = demand(first_told.play, mode), first_told.told.received
    return one._replace(first=min(one.first, received), last=max(one.last, received))


def _excess(plays: list[Play], last: dict[str, int]) -> int:
    """By how many plays the last totals exceed the recorded plays, summed over all videos."""
    played: dict[str, int] = {}
    for play in plays:
        played[str(play.video)] = max(played.get(str(play.video), 0), play.total)
    return sum(max(0, total - played.get(video, 0)) for video, total in last.items())


def _is_late(first_told: _FirstTold, promises: Promises) -> bool:
    play, told = first_told
    deadline = play.arrived + round(promises.deadline_s * NS_PER_S)
    hot = play.total >= promises.realtime_below
    return hot and told.offered > deadline and not told.overdue and play.received < deadline
