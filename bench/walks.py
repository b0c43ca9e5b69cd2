"""How long one turn takes of what has to touch every video: growth, a start, a recall, videos that leave.

    python -m bench.walks [--videos 3000000]

The table of videos that counters and client have (`actors/core/table.py`) gets `--videos` videos, one by
one, and in columns of 256 and of 4,096. The longest turn is what holds up everything else: the least of
`ROUNDS` rounds.

start: as many rows are put into slots, as a counter and the client do before they are ready; a turn is a
block of rows. Nobody is answered then.

A counter's rules with as many pending videos then get a `Recall`: all of them go to the dispatcher, while
nothing else comes. Once more, a dispatcher that drains asks in every turn.

A dispatcher has as many pending videos. They leave, twenty at a time, until none is left.

The times are CPU of this process, so that other work of the machine is not in them.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

import numpy as np

from actors.core.columns import VIDEO_BYTES, Int32s, Int64s, unpack_videos
from actors.core.counter.accounts import ARRIVED_NS, TOTAL, Accounts
from actors.core.counter.ledger import Ledger
from actors.core.counter.rules import DISPATCHER, CounterRules, Received
from actors.core.counter.seen_ids import SeenIds
from actors.core.dispatcher.pending import DueColumns, PendingVideos
from actors.core.messages import Collect, Recall
from actors.core.table import VideoTable

from .command import parser, show

COLUMNS = ("what", "turns", "longest, ms", "all, ms")
MS_NS = 1_000_000
SEED = 1
ROUNDS = 3
BATCH = 20
RECALLS = (("recall", False), ("recall in a drain", True))
WINDOW_MS = 3_600_000


def main() -> None:
    """Measure, and print a table."""
    arguments = parser(__doc__)
    arguments.add_argument("--videos", type=int, default=3_000_000)
    videos = arguments.parse_args().videos
    rows = [_row(f"{width:,} new videos", partial(_growth, videos, width)) for width in (1, 256, 4096)]
    rows.append(_row("start", partial(_start, videos)))
    rules = _pending(videos)
    rows += [_row(what, partial(_recall, rules, drains)) for what, drains in RECALLS]
    show(COLUMNS, [*rows, _row("pending videos leave", partial(_leaving, videos))])


def _row(what: str, turns_ns: Callable[[], Iterator[int]]) -> tuple[str, ...]:
    rounds = [np.fromiter(turns_ns(), np.int64) for _ in range(ROUNDS)]
    longest, together = (min(int(of(one)) for one in rounds) / MS_NS for of in (np.max, np.sum))
    return what, f"{len(rounds[0]):,}", f"{longest:.1f}", f"{together:,.0f}"


def _growth(videos: int, width: int) -> Iterator[int]:
    """The CPU (ns) of each call that adds `width` videos."""
    table, chance = VideoTable(3), np.random.default_rng(SEED)
    for _ in range(0, videos, max(width, 4096)):
        words = _words(chance, max(width, 4096))
        if width > 1:
            for start in range(0, len(words), width):
                yield _timed(lambda some: table.rows_of(some, open_new=True), words[start : start + width])
        else:
            for one in words:
                yield _timed(table.open_row, one.tobytes())


def _start(videos: int) -> Iterator[int]:
    """The CPU (ns) of each block of rows that gets slots."""
    table = _Blocks(3)
    table.lengthen(videos)
    table.cells[:, :2] = _words(np.random.default_rng(SEED), videos)
    assert table.reindex()
    yield from table.took_ns


class _Blocks(VideoTable):
    """Notes the CPU (ns) of each block that is put in."""

    took_ns: ClassVar[list[int]] = []

    def reindex(self) -> bool:
        self.took_ns.clear()
        return super().reindex()

    def _put_block_in(self, start: int) -> Int32s:
        began_ns = time.process_time_ns()
        found = super()._put_block_in(start)
        self.took_ns.append(time.process_time_ns() - began_ns)
        return found


def _leaving(videos: int) -> Iterator[int]:
    """The CPU (ns) of each call that removes twenty of the pending videos."""
    pending, chance = PendingVideos(bytes(16)), np.random.default_rng(SEED)
    column = _words(chance, videos).tobytes()
    for start in range(0, len(column), 4096 * VIDEO_BYTES):
        some = column[start : start + 4096 * VIDEO_BYTES]
        numbers = np.ones(len(some) // VIDEO_BYTES, np.int64)
        pending.add(some, DueColumns(numbers, numbers, numbers, numbers > 1))
    for start in range(0, len(column), BATCH * VIDEO_BYTES):
        yield _timed(pending.pop_all, unpack_videos(column[start : start + BATCH * VIDEO_BYTES]))


def _pending(videos: int) -> CounterRules:
    """The rules of a counter with this many pending videos, all of them announced."""
    accounts, chance = Accounts(), np.random.default_rng(SEED)
    for _ in range(0, videos, 4096):
        accounts.rows_of(_words(chance, 4096), open_new=True)
    accounts.cells[:, TOTAL] = accounts.cells[:, ARRIVED_NS] = 1
    return CounterRules(Ledger(SeenIds(WINDOW_MS), accounts))


def _recall(rules: CounterRules, drains: bool) -> Iterator[int]:
    """The CPU (ns) of each turn until everything is told."""
    inbox: list[Received] = [(DISPATCHER, Recall())]
    while inbox or rules.wakeup_ms() is not None:
        yield _timed(lambda some: rules.handle(some, 1, MS_NS), inbox)
        inbox = [(DISPATCHER, Collect(1, b""))] if drains and rules.wakeup_ms() is not None else []


def _words(chance: np.random.Generator, videos: int) -> Int64s:
    return chance.integers(-(1 << 63), (1 << 63) - 1, (videos, 2))


def _timed(call: Callable[[Any], object], argument: object) -> int:
    began_ns = time.process_time_ns()
    call(argument)
    return time.process_time_ns() - began_ns


if __name__ == "__main__":
    main()
