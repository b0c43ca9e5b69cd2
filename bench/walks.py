"""How long one turn takes of what has to touch every video: the growth of a table, a recall.

    python -m bench.walks [--videos 3000000]

The table of videos that counters and client have (`actors/core/table.py`) gets `--videos` videos, one by
one, and in columns of 256 and of 4,096. The longest turn is what holds up everything else: the least of
`ROUNDS` rounds.

A counter's rules with as many pending videos then get a `Recall`: all of them go to the dispatcher, while
nothing else comes.

The times are CPU of this process, so that other work of the machine is not in them.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from actors.core.counter.accounts import ARRIVED_NS, TOTAL, Accounts
from actors.core.counter.ledger import Ledger
from actors.core.counter.rules import DISPATCHER, CounterRules, Received
from actors.core.counter.seen_ids import SeenIds
from actors.core.messages import Recall
from actors.core.table import VideoTable

from .command import parser, show

COLUMNS = ("what", "turns", "longest, ms", "all, ms")
MS_NS = 1_000_000
SEED = 1
ROUNDS = 3
WINDOW_MS = 3_600_000


def main() -> None:
    """Measure, and print a table."""
    arguments = parser(__doc__)
    arguments.add_argument("--videos", type=int, default=3_000_000)
    videos = arguments.parse_args().videos
    rows = [_row(f"{width:,} new videos", partial(_growth, videos, width)) for width in (1, 256, 4096)]
    show(COLUMNS, [*rows, _row("recall", partial(_recall, _pending(videos)))])


def _row(what: str, turns_ns: Callable[[], Iterator[int]]) -> tuple[str, ...]:
    rounds = [np.fromiter(turns_ns(), np.int64) for _ in range(ROUNDS)]
    longest, together = (min(int(of(one)) for one in rounds) / MS_NS for of in (np.max, np.sum))
    return what, f"{len(rounds[0]):,}", f"{longest:.1f}", f"{together:,.0f}"


def _growth(videos: int, width: int) -> Iterator[int]:
    """The CPU (ns) of each call that adds `width` videos."""
    table, chance = VideoTable(3), np.random.default_rng(SEED)
    for _ in range(0, videos, max(width, 4096)):
        words = chance.integers(-(1 << 63), (1 << 63) - 1, (max(width, 4096), 2))
        if width > 1:
            for start in range(0, len(words), width):
                yield _timed(lambda some: table.rows_of(some, open_new=True), words[start : start + width])
        else:
            for one in words:
                yield _timed(table.open_row, one.tobytes())


def _pending(videos: int) -> CounterRules:
    """The rules of a counter with this many pending videos, all of them announced."""
    accounts, chance = Accounts(), np.random.default_rng(SEED)
    for _ in range(0, videos, 4096):
        accounts.rows_of(chance.integers(-(1 << 63), (1 << 63) - 1, (4096, 2)), open_new=True)
    accounts.cells[:, TOTAL] = accounts.cells[:, ARRIVED_NS] = 1
    return CounterRules(Ledger(SeenIds(WINDOW_MS), accounts))


def _recall(rules: CounterRules) -> Iterator[int]:
    """The CPU (ns) of each turn until everything is told."""
    inbox: list[Received] = [(DISPATCHER, Recall())]
    while inbox or rules.wakeup_ms() is not None:
        yield _timed(lambda some: rules.handle(some, 1, MS_NS), inbox)
        inbox = []


def _timed(call: Callable[[Any], object], argument: object) -> int:
    began_ns = time.process_time_ns()
    call(argument)
    return time.process_time_ns() - began_ns


if __name__ == "__main__":
    main()
