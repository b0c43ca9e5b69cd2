"""A recorded run, audited: were the promises kept, and how near were its publishes to the fewest possible.

Judges with `core/client/audit.py` and `core/client/bound.py` alone,
which share no rule with the code that publishes.
"""

import argparse
import json
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec import Struct
from rich.table import Table
from rich.text import Text

from ..config import Settings
from ..core.client.audit import Audit, Broken, Promise, Promises, Publish, Verdict
from ..core.client.bound import Demand, Mode, Play, demand, needed, publishes_min, timer_publishes
from ..system.exits import EXIT_DONE, EXIT_FAILED
from .recordings import Received, read_plays, read_publishes
from .screen import Page

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
BROKEN_SHOWN_MAX = 5


class _Told(NamedTuple):
    """One total that the client was told of a video, larger than all before."""

    total: int
    received: int
    overdue: bool


class _Heard(NamedTuple):
    """One play, and what first told the client of it."""

    play: Play
    told: _Told


class Result(Struct, frozen=True, kw_only=True):
    """All that was found. Times in milliseconds, None where the recording does not tell."""

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
        """Whether every promise was kept, as far as the recording shows."""
        return not any(self.promises_broken.values())


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Read, judge, print. 0 when every promise was kept, 1 when not. Raises `Failure` on a wrong line."""
    dispatch = settings.dispatch
    promises = Promises(
        realtime_below=dispatch.realtime_below,
        deadline_s=options.deadline_s if options.deadline_s is not None else float(dispatch.deadline_s),
        batch_size_max=dispatch.batch_size_max,
        every_play=dispatch.realtime == "every_play",
    )
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
        print(json.dumps(msgspec.to_builtins(result) | {"held": result.held}, indent=2))
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
    """Judge a recording. `plays`: None when they were not recorded.

    `linger_ms`: how long the bound lets a realtime play wait; None for as long as the slowest did here,
    or where the recording has no times, for `realtime_linger_ms`.
    """
    audit = Audit(promises, keys_max=len(received) + 1)
    timed = all(one.received_at_ns is not None for one in received)
    told: dict[str, list[_Told]] = {}
    first_plays: list[_Heard] = []
    now = 0
    for publish, received_at_ns in received:
        # Where no time is recorded: it can't have been before its newest play had arrived. That is kind.
        newest = max((entry.arrived_at_ns for entry in publish.videos), default=0)
        now = max(now, newest) if received_at_ns is None else received_at_ns
        if audit.receive(publish, now).verdict is Verdict.ACCEPTED:
            _hear(publish, now, promises, told, first_plays)
    broken = {promise.value: count for promise, count in audit.statistics.broken.items()}
    heard = first_plays
    if plays is not None:
        heard = list(_match(plays, told))
        broken["every_play_told"] = _untold(plays, told)
        broken["no_more_than_played"] = _invented(plays, told)
        late = sum(_is_late(one, promises) for one in heard) if timed else 0
        broken[Promise.DEADLINE.value] = max(broken[Promise.DEADLINE.value], late)
    slowest = max(
        (told.received - play.received for play, told in heard if play.total < promises.realtime_below),
        default=0,
    )
    slowest_ms = max(0, slowest) / NS_PER_MS if timed else None
    if linger_ms is None:
        linger_ms = realtime_linger_ms if slowest_ms is None else slowest_ms
    mode = Mode(
        deadline=round(promises.deadline_s * NS_PER_S),
        realtime_linger=round(linger_ms * NS_PER_MS),
        overdue_linger=round(overdue_linger_ms * NS_PER_MS),
        realtime_below=promises.realtime_below,
        batch_size_max=promises.batch_size_max,
        every_play=promises.every_play,
    )
    bound = publishes_min(needed(_granted(one, mode) for one in heard), promises.batch_size_max)
    widths, publishes = audit.statistics.widths, audit.statistics.publishes_total()
    totals_told = sum(width * count for width, count in widths.items())
    places = publishes * promises.batch_size_max
    return Result(
        publishes=publishes,
        by_trigger={trigger.value: count for trigger, count in audit.statistics.publishes.items()},
        duplicates=audit.statistics.duplicates,
        totals_told=totals_told,
        videos=len(told),
        plays=audit.plays if plays is None else len(plays),
        plays_recorded=plays is not None,
        times_recorded=timed,
        bound=bound,
        bound_linger_ms=linger_ms,
        ratio=round(publishes / bound, 4) if bound else None,
        one_a_play=audit.plays if plays is None else len(plays),
        plain_timer=(
            audit.statistics.timer.publishes(promises) if plays is None else timer_publishes(plays, mode)
        ),
        deadline_s=promises.deadline_s,
        places=places,
        places_empty=max(0, places - totals_told),
        publishes_full=sum(n for width, n in widths.items() if width >= promises.batch_size_max),
        realtime_slowest_ms=slowest_ms,
        promises_broken=broken,
        broken=audit.broken[:BROKEN_SHOWN_MAX],
    )


def show(result: Result) -> None:
    """Print it for people."""
    page = Page()
    rows = Table(box=None, pad_edge=False, show_header=False)
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column()
    triggers = ", ".join(f"{count:,} {name}" for name, count in result.by_trigger.items() if count)
    again = f"; {result.duplicates:,} more came again under their key" if result.duplicates else ""
    source = "recorded" if result.plays_recorded else "by the totals"
    rows.add_row("plays", f"{result.plays:,} of {result.videos:,} videos, {source}")
    rows.add_row("publishes", f"{result.publishes:,} ({triggers or 'none'}){again}")
    rows.add_row("fewest possible", _bound(result))
    rows.add_row("one a play", f"{result.one_a_play:,}")
    timer = f"{result.plain_timer:,}, but a quiet video waits for it"
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
        page.print(Text(f"  {one.batch} {one.video_id or ''}: expected {one.expected}, found {one.found}"))
    if result.held:
        blind = "" if result.times_recorded else ", as far as a recording without times shows"
        page.print(Text(f"every promise was kept{blind}", style="bold green"))


def _bound(result: Result) -> str:
    ratio = f", of which the run made {result.ratio:g} times as many" if result.ratio else ""
    waited = f"with each realtime play told within {result.bound_linger_ms:,.4g} ms"
    return f"{result.bound:,} {waited}{ratio}"


def _hear(
    publish: Publish, now: int, promises: Promises, told: dict[str, list[_Told]], first_plays: list[_Heard]
) -> None:
    """Take over what a publish tells, and the one play that each of its totals speaks of: the oldest."""
    for entry in publish.videos:
        before = told.setdefault(entry.video_id, [])
        last = before[-1].total if before else 0
        if entry.plays <= last:
            continue
        # A first total of 100 or more: the recording may begin late, and that play need not be the first.
        total = entry.plays if not before and entry.plays >= promises.realtime_below else last + 1
        one = _Told(entry.plays, now, entry.overdue or publish.trigger == "overdue")
        before.append(one)
        first_plays.append(_Heard(Play(entry.video_id, entry.arrived_at_ns, entry.arrived_at_ns, total), one))


def _match(plays: list[Play], told: dict[str, list[_Told]]) -> Iterator[_Heard]:
    """Each play that was told, with what told it first."""
    for play in plays:
        of_video = told.get(str(play.video), [])
        at = bisect_left(of_video, play.total, key=lambda one: one.total)
        if at < len(of_video):
            yield _Heard(play, of_video[at])


def _granted(heard: _Heard, mode: Mode) -> Demand:
    """What the play demands, or where it took longer here, that it takes no longer than here.

    So the run itself meets every demand, and the bound can't be above what it made.
    """
    one = demand(heard.play, mode)
    return one._replace(first=min(one.first, heard.told.received), last=max(one.last, heard.told.received))


def _untold(plays: list[Play], told: dict[str, list[_Told]]) -> int:
    """How many plays the client was never told of."""
    return sum(str(play.video) not in told or told[str(play.video)][-1].total < play.total for play in plays)


def _invented(plays: list[Play], told: dict[str, list[_Told]]) -> int:
    """By how much totals exceed what was played."""
    played: dict[str, int] = {}
    for play in plays:
        played[str(play.video)] = max(played.get(str(play.video), 0), play.total)
    last = {video: of_video[-1].total for video, of_video in told.items() if of_video}
    return sum(max(0, total - played.get(video, 0)) for video, total in last.items())


def _is_late(heard: _Heard, promises: Promises) -> bool:
    play, told = heard
    deadline = play.arrived + round(promises.deadline_s * NS_PER_S)
    hot = play.total >= promises.realtime_below
    return hot and told.received > deadline and not told.overdue and play.received < deadline
