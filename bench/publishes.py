"""How many publishes the schedule makes of a trace, compared with the fewest that any schedule could make.

    python -m bench.publishes [--trace NAME …] [--linger-ms MS …] [--client-ms MS] [--in-flight N]
                              [--json FILE] [--picture FILE] [--record FILE]

The rules of a counter and of the dispatcher (`actors/core`) run as they do in the service, in virtual time.
Only the client takes time: it answers each publish after `--client-ms`. At 0, the default, every play is
published within its linger, so the bound holds for the schedule too, and the ratio is 1 or more; but in a
backlog a counter's answer may take 10 ms, and the ratio is below 1. With a
slower client, plays wait for the batch before theirs and leave together. The bound then allows one publish
time more than the linger, because such a client makes every schedule wait that long.

publishes: those of the dispatcher, which leaves a lead time before deadlines. rule: those of its schedule
alone, without a lead time. bound: fewer are impossible, even knowing the future (docs/publishing.md). ratio:
publishes / bound. 60 s timer: every 60 s all changed totals, twenty in a publish; it is late for realtime
plays.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from pathlib import Path
from random import Random
from types import MappingProxyType

from msgspec import Struct, structs

from actors.core import guids
from actors.core.client.bound import Mode, Play, demands, publishes_min, timer_publishes
from actors.core.columns import VIDEO_BYTES, pack_numbers
from actors.core.counter.accounts import Account, Accounts
from actors.core.counter.ledger import Ledger
from actors.core.counter.rules import CounterRules
from actors.core.counter.seen_ids import SeenIds
from actors.core.dispatcher.attempts import Outcome
from actors.core.dispatcher.effects import Deliver
from actors.core.dispatcher.lead_time import LeadTime, PublishTime
from actors.core.dispatcher.outbox import Batch, payload
from actors.core.dispatcher.rule import Rule
from actors.core.dispatcher.rules import DispatcherRules
from actors.core.dispatcher.schedule import Schedule
from actors.core.effects import Send
from actors.core.messages import CounterInbox, DispatcherInbox, Plays

from . import picture
from .command import add_json, parser, show, write_json
from .traces import MS, PLAYS, TRACES, make_trace

LINGERS_MS = (0, 10, 100, 1000)
DEADLINE_MS = 60_000
OVERDUE_LINGER_MS = 1000
BATCH_SIZE_MAX = 20
REALTIME_WAIT_MAX_MS = 100
DEDUPE_WINDOW_MS = 3_600_000
PLAYS_MAX = 2**53  # more plays than any video has


class Told(Struct, frozen=True):
    """One publish that the client has accepted: when it left, when the client had it, and its batch."""

    left_ms: int
    received_ms: int
    batch: Batch


class Measured(Struct, frozen=True):
    """One line of the table."""

    trace: str
    linger_ms: int
    client_ms: int
    plays: int
    publishes: int
    rule: int
    bound: int
    ratio: float
    width: float
    late: int
    timer: int
    bound_seconds: float


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--trace", nargs="+", choices=TRACES, metavar="NAME", help=", ".join(TRACES))
    arguments.add_argument("--linger-ms", nargs="+", type=int, metavar="MS", help="default: 0 10 100 1000")
    arguments.add_argument("--client-ms", type=int, default=0, metavar="MS", help="how long a publish takes")
    arguments.add_argument("--in-flight", type=int, default=1, metavar="N", help="publishes at once")
    arguments.add_argument("--plays", type=int, default=PLAYS)
    arguments.add_argument("--seed", type=int, default=1)
    add_json(arguments)
    arguments.add_argument("--picture", metavar="FILE", help="draw publishes against linger, as SVG")
    arguments.add_argument(
        "--record",
        metavar="FILE",
        help="write the publishes of one trace and one linger, as `supervisor.py audit` reads them",
    )
    options = arguments.parse_args()
    names, lingers_ms = options.trace or list(TRACES), options.linger_ms or LINGERS_MS
    if options.record and len(names) * len(lingers_ms) != 1:
        arguments.error("--record: name one --trace and one --linger-ms")
    asked = [
        (name, linger_ms, options.client_ms, options.plays, options.seed, options.record, options.in_flight)
        for name in names
        for linger_ms in lingers_ms
    ]
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(_measure, asked))
    _show(found)
    if options.picture:
        series = {
            name: [(one.linger_ms, one.publishes) for one in found if one.trace == name] for name in names
        }
        Path(options.picture).write_text(picture.draw(series), encoding="utf-8")
    write_json(options.json, found)


def measure(name: str, trace: list[Play], mode: Mode, client_ms: int, told: list[Told]) -> Measured:
    """The figures of a replay. `told`: its publishes."""
    linger_ms = mode.realtime_linger // MS
    granted = structs.replace(mode, realtime_linger=mode.realtime_linger + client_ms * MS)
    started_s = time.monotonic()
    bound = publishes_min(demands(trace, granted), mode.batch_size_max)
    bound_seconds = time.monotonic() - started_s
    return Measured(
        trace=name,
        linger_ms=linger_ms,
        client_ms=client_ms,
        plays=len(trace),
        publishes=len(told),
        rule=rule_publishes(trace, mode),
        bound=bound,
        ratio=len(told) / bound,
        width=sum(len(one.batch.entries) for one in told) / len(told),
        late=sum(_late(one, mode) for one in told),
        timer=timer_publishes(trace, mode),
        bound_seconds=bound_seconds,
    )


def replay(
    trace: list[Play],
    mode: Mode,
    client_ms: int = 0,
    vary: float = 0.0,
    in_flight_max: int = 1,
    hangs_ms: Mapping[int, int] = MappingProxyType({}),
) -> list[Told]:
    """Every publish that one counter and the dispatcher make of a trace, until nothing is pending.

    They are in the order of their answers. `vary`: a publish takes `client_ms`, plus or minus a random time
    up to this share of it. `in_flight_max`: how many publishes may be on their way at once. `hangs_ms`: how
    long the publish with this number, from 1, takes instead.
    """
    world = _World(trace, mode, client_ms, vary, in_flight_max, hangs_ms)
    return list(world.run())


def rule_publishes(trace: list[Play], mode: Mode) -> int:
    """How many publishes the rule alone makes: `Schedule` without a lead time and without a dispatcher."""
    rule = _rule_of(mode)
    schedule = Schedule(
        rule, mode.batch_size_max, LeadTime(rule.deadline_ms, slack_ms=0, publish_time=PublishTime(0))
    )
    videos = dict.fromkeys(play.video for play in trace)
    names = {video: number.to_bytes(VIDEO_BYTES, "big") for number, video in enumerate(videos)}
    publishes = 0
    for now_ms, plays in groupby(trace, lambda play: play.received // MS):
        publishes += _fire(schedule, now_ms - 1)
        for play in plays:
            schedule.offer(names[play.video], play.arrived // MS, play.total, now_ms)
    return publishes + _fire(schedule, None)


def _rule_of(mode: Mode) -> Rule:
    """The mode as a rule of the schedule, in milliseconds."""
    return Rule(
        mode.realtime_below, mode.deadline // MS, mode.realtime_linger // MS, mode.overdue_linger // MS
    )


def _fire(schedule: Schedule, until_ms: int | None) -> int:
    """Publish all that is due by `until_ms`; if it is None, all. Returns the number of publishes."""
    publishes = 0
    while (due_ms := schedule.next_due_ms()) is not None and (until_ms is None or due_ms <= until_ms):
        publishes += 1
        for video in schedule.take(due_ms)[1]:
            schedule.confirm(video, PLAYS_MAX)
    return publishes


class _World:
    """A counter, the dispatcher, and a client that is never down. Times in whole milliseconds."""

    def __init__(
        self,
        trace: list[Play],
        mode: Mode,
        client_ms: int,
        vary: float,
        in_flight_max: int,
        hangs_ms: Mapping[int, int],
    ):
        self._trace = trace
        self._hangs_ms = hangs_ms
        self._left = 0
        self._client_ms = client_ms
        self._vary_ms = client_ms * vary
        self._random = Random(1)
        steps_below = mode.realtime_below if mode.every_play else 0
        ledger = Ledger(SeenIds(DEDUPE_WINDOW_MS), _counted_before(trace), steps_below=steps_below)
        self._counting = CounterRules(ledger, mode.realtime_below)
        self._dispatching = DispatcherRules(
            _rule_of(mode),
            1,
            mode.batch_size_max,
            service="trace",
            jitter=lambda: 1.0,
            in_flight_max=in_flight_max,
            realtime_wait_max_ms=REALTIME_WAIT_MAX_MS,
        )
        self._sent: list[Told] = []  # on their way, sorted by their answers

    def run(self) -> Iterator[Told]:
        """The publishes in the order of their answers."""
        if not self._trace:
            return
        arrivals = groupby(enumerate(self._trace), lambda numbered: numbered[1].received // MS)
        following = next(arrivals, None)
        self._perform(self._dispatching.linked(0, self._trace[0].received // MS), 0)
        while True:
            counter_ms = self._counting.wakeup_ms()
            times = [self._dispatching.wakeup_ms(), counter_ms, following[0] if following else None]
            times += [one.received_ms for one in self._sent[:1]]
            known = [one for one in times if one is not None]
            if not known:
                return
            now_ms = min(known)
            if following is not None and following[0] == now_ms:
                self._count(following[1], now_ms)
                following = next(arrivals, None)
            elif self._sent and self._sent[0].received_ms == now_ms:
                told = self._sent.pop(0)
                effects = self._dispatching.delivered(told.batch.key, Outcome.ACCEPTED, now_ms)
                self._perform(effects, now_ms)
                yield told
            elif counter_ms == now_ms:
                self._perform(self._counting.handle([], now_ms, now_ms * MS), now_ms)
            else:
                self._perform(self._dispatching.wake(now_ms), now_ms)

    def _count(self, numbered: Iterable[tuple[int, Play]], now_ms: int) -> None:
        ids, videos, arrived_ns = [], [], []
        for number, play in numbered:
            # As nsqd does: the time, in units of 2**20 ns, in the high bits, and a number in the low bits.
            ids.append(((play.arrived >> 20) << 22 | number & 0x3FFFFF).to_bytes(8, "big"))
            videos.append(guids.parse(str(play.video)))
            arrived_ns.append(play.arrived)
        message = Plays(0, "trace/plays", b"".join(ids), b"".join(videos), pack_numbers(arrived_ns))
        self._perform([Send("counter-0", message)], now_ms)

    def _perform(self, effects: Iterable[object], now_ms: int) -> None:
        """Carry out the effects and all effects that follow from them, in order."""
        waiting = list(effects)
        for effect in waiting:
            match effect:
                case Deliver(batch):
                    more_ms = self._vary_ms * (2 * self._random.random() - 1)
                    self._dispatching.departs(batch.key, now_ms)
                    self._left += 1
                    takes_ms = self._hangs_ms.get(self._left, round(self._client_ms + more_ms))
                    answered_ms = now_ms + takes_ms
                    self._sent.append(Told(now_ms, answered_ms, batch))
                    self._sent.sort(key=lambda one: one.received_ms)
                case Send(_, message) if isinstance(message, DispatcherInbox):
                    waiting += self._dispatching.handle(0, [message], now_ms)
                case Send(_, message) if isinstance(message, CounterInbox):
                    waiting += self._counting.handle([("", message)], now_ms, now_ms * 1_000_000)


def _counted_before(trace: list[Play]) -> Accounts:
    """Accounts of the videos that were played before the trace: all those plays are published."""
    accounts: dict[object, Account] = {}
    for play in trace:
        if play.video not in accounts:
            accounts[play.video] = Account(total=play.total - 1, published=play.total - 1)
    return Accounts((guids.parse(str(video)), one) for video, one in accounts.items() if one.total)


def _late(told: Told, mode: Mode) -> int:
    """How many videos of the publish were late, where the deadline could be kept."""
    return sum(
        not entry.overdue and told.received_ms > (entry.arrived_ns + mode.deadline) // MS
        for entry in told.batch.entries
    )


def _measure(asked: tuple[str, int, int, int, int, str | None, int]) -> Measured:
    name, linger_ms, client_ms, plays, seed, record, in_flight_max = asked
    trace = make_trace(name, plays, seed)
    mode = Mode(
        deadline=DEADLINE_MS * MS,
        realtime_linger=linger_ms * MS,
        overdue_linger=OVERDUE_LINGER_MS * MS,
        batch_size_max=BATCH_SIZE_MAX,
    )
    told = replay(trace, mode, client_ms, in_flight_max=in_flight_max)
    if record:
        Path(record).write_text("".join(f"{line}\n" for line in recorded(told)), encoding="utf-8")
    return measure(name, trace, mode, client_ms, told)


def recorded(told: Iterable[Told]) -> Iterator[str]:
    """Publishes as JSON lines, as the service prints them, with the time at which the client had them."""
    for one in told:
        yield json.dumps({**payload(one.batch), "received_at_ns": one.received_ms * MS})


def _show(found: list[Measured]) -> None:
    names = "trace, linger, publishes, rule, bound, ratio, videos each, one a play, 60 s timer"
    rows = [
        (
            one.trace if before is None or before.trace != one.trace else "",
            f"{one.linger_ms} ms",
            f"{one.publishes:,}",
            f"{one.rule:,}",
            f"{one.bound:,}",
            f"{one.ratio:.4f}",
            f"{one.width:.1f}",
            f"{one.plays:,}",
            f"{one.timer:,}",
        )
        for before, one in zip([None, *found], found, strict=False)
    ]
    show(names.split(", "), rows)


if __name__ == "__main__":
    main()
