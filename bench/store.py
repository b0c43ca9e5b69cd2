"""What the ledgers' files cost: loading a million videos and a million seen ids, and making a commit.

    python -m bench.store [--videos 1000000] [--seen 1000000] [--shards 2] [--commits 200]

Loading is all that a counter does until it is ready: it opens and checks the file, and loads accounts and
seen ids. The shards load at the same time, each in its own process, as the counters do. For a
commit, the loaded ledger counts 1,000 plays of random videos, and then its changes are written to the file,
with `synchronous = "NORMAL"`.

The first line of the table is for 100 videos, the other lines are for `--videos`. For the last line,
each seen id is in a database row of its own. That is the worst case: real commits merge the rows of a bucket.
"""

import argparse
import contextlib
import random
import sqlite3
import statistics
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

from actors.core.columns import ID_BYTES, pack_numbers
from actors.core.counter.ledger import Ledger
from actors.core.counter.seen_ids import SeenIds
from actors.core.messages import Plays
from actors.store import SqliteLedgerStore, ledger_path
from actors.store.seen import INSERT, in_buckets, row_of

from .command import folder, parser, show

PLAYS_A_COMMIT = 1000
WINDOW_MS = 3_600_000
NOW_MS = 1_800_000_000_000
SOURCE = "127.0.0.1:4150/plays"
COLUMNS = ("videos", "seen ids", "in rows", "loaded in s", "a commit, ms", "95 % within", "MB on disk")


class Shard:
    """One open ledger of a state folder, and the videos that are played."""

    def __init__(self, state_dir: str, shards: int, videos: int, number: int):
        self.store = SqliteLedgerStore(state_dir, number, shards, "NORMAL")
        accounts, chunks, tallies = self.store.load()
        self.seen = SeenIds(WINDOW_MS, chunks)
        self.ledger = Ledger(self.seen, accounts, tallies)
        self._chance = random.Random(number)
        self.videos = [self._chance.randbytes(16) for _ in range(videos // shards)]
        self._sequence = 0

    def count(self, videos: Iterable[bytes], now_ms: int) -> None:
        """Count one play of each of `videos`, and commit."""
        played = list(videos)
        ids = [(now_ms << 22) + self._sequence + place for place in range(len(played))]
        self._sequence = (self._sequence + len(played)) % (1 << 21)
        plays = Plays(
            1,
            SOURCE,
            b"".join(one.to_bytes(8, "big") for one in ids),
            b"".join(played),
            pack_numbers([now_ms * 1_000_000] * len(played)),
        )
        self.ledger.apply(plays, now_ms, now_ms * 1_000_000)
        changes = self.ledger.take_changes(now_ms)
        assert changes is not None
        self.store.commit(changes)


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--videos", type=int, default=1_000_000)
    arguments.add_argument(
        "--seen", type=int, default=1_000_000, help="message ids that were seen in the last hour"
    )
    arguments.add_argument("--shards", type=int, default=2)
    arguments.add_argument("--commits", type=int, default=200)
    options = arguments.parse_args()
    rows = []
    for videos, scattered in ((100, False), (options.videos, False), (options.videos, True)):
        with folder() as path:
            rows.append(measure(str(path), videos, options, scattered))
    show(COLUMNS, rows, f"ledgers, {options.shards} shards", texts=0)


def measure(state_dir: str, videos: int, options: argparse.Namespace, scattered: bool) -> list[str]:
    """One row of the table."""
    ledger, shards = (state_dir, options.shards, videos), range(options.shards)
    with ProcessPoolExecutor(options.shards) as processes:
        list(processes.map(partial(_fill, *ledger, options.seen // options.shards), shards))
        rows = sum(processes.map(partial(_rows, state_dir, scattered), shards))
        started_s = time.monotonic()
        loaded = list(processes.map(partial(_load, *ledger), shards))
        seconds = time.monotonic() - started_s
        size = sum(path.stat().st_size for path in Path(state_dir).rglob("*") if path.is_file())
        found = processes.map(partial(_commit, *ledger, options.commits), shards)
        costs_ms = [cost for some in found for cost in some]
    return [
        f"{sum(one[0] for one in loaded):,}",
        f"{sum(one[1] for one in loaded):,}",
        f"{rows:,}",
        f"{seconds:.2f}",
        f"{statistics.median(costs_ms):.2f}",
        f"{statistics.quantiles(costs_ms, n=20)[-1]:.2f}",
        f"{size / 1e6:.0f}",
    ]


def _fill(state_dir: str, shards: int, videos: int, plays: int, number: int) -> None:
    """Commit `plays` plays of the videos in turn. Their times are spread evenly over the last hour."""
    shard = Shard(state_dir, shards, videos, number)
    for start in range(0, plays, PLAYS_A_COMMIT):
        places = range(start, min(start + PLAYS_A_COMMIT, plays))
        now_ms = NOW_MS - WINDOW_MS + start * WINDOW_MS // plays
        shard.count((shard.videos[place % len(shard.videos)] for place in places), now_ms)
    shard.store.close()


def _rows(state_dir: str, scattered: bool, number: int) -> int:
    """The number of rows that hold the seen ids. `scattered`: first give each id its own row."""
    with contextlib.closing(sqlite3.connect(ledger_path(state_dir, number))) as connection:
        if scattered:
            with connection:
                together = [one for rows in in_buckets(connection) for one in rows]
                connection.execute("DELETE FROM seen")
                for chunk in together:
                    keys = (chunk.keys[at : at + ID_BYTES] for at in range(0, len(chunk.keys), ID_BYTES))
                    alone = (row_of(msgspec.structs.replace(chunk, keys=one)) for one in keys)
                    connection.executemany(INSERT, alone)
        rows: int = connection.execute("SELECT count(*) FROM seen").fetchone()[0]
        return rows


def _load(state_dir: str, shards: int, videos: int, number: int) -> tuple[int, int]:
    """Load a ledger. Returns how many videos and how many seen ids the ledger has."""
    shard = Shard(state_dir, shards, 0, number)
    shard.store.close()
    return len(shard.ledger), len(shard.seen)


def _commit(state_dir: str, shards: int, videos: int, commits: int, number: int) -> list[float]:
    """Make `commits` commits. Returns how long each took, in ms."""
    shard, costs_ms = Shard(state_dir, shards, videos, number), []
    chance = random.Random(number)
    for place in range(commits):
        played = chance.choices(shard.videos, k=PLAYS_A_COMMIT)
        started_s = time.perf_counter()
        shard.count(played, NOW_MS + place * 10)
        costs_ms.append((time.perf_counter() - started_s) * 1000)
    shard.store.close()
    return costs_ms


if __name__ == "__main__":
    main()
