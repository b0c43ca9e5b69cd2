"""What a ledger takes on disk, after its videos were counted, published, and played at random.

    python -m bench.ledgers [--videos 200000]

The videos are played once, in commits of 500. Then they are published in batches of twenty, each with the two
commits that a counter makes. Then half as many plays of random videos follow. Bytes a video: of all files
(4 MB of them are SQLite's -wal, for any number of videos), and of the journal and the parts in them.
"""

import contextlib
import random
import sqlite3
from pathlib import Path

from actors.core.columns import unpack_numbers
from actors.store import ledger_path

from .command import folder, parser, show
from .store import NOW_MS, Shard

COLUMNS = ("after", "files", "journal", "parts")
PLAYS_A_COMMIT = 500
BATCH = 20


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--videos", type=int, default=200_000)
    options = arguments.parse_args()
    with folder() as path:
        show(COLUMNS, _measure(str(path), options.videos), f"{options.videos:,} videos, bytes each")


def _measure(state_dir: str, count: int) -> list[tuple[str, ...]]:
    chance, shard = random.Random(3), Shard(state_dir, 1, count, 0)
    for start in range(0, count, PLAYS_A_COMMIT):
        shard.count(shard.videos[start : start + PLAYS_A_COMMIT], NOW_MS + start // 100)
    counted = _sizes(state_dir, count, "counted")
    for start in range(0, count, BATCH):
        some = shard.videos[start : start + BATCH]
        totals = unpack_numbers(shard.ledger.collect(start, some).totals)
        _commit(shard)
        shard.ledger.publish(some, totals)
        _commit(shard)
    published = _sizes(state_dir, count, "published")
    for start in range(count, count + count // 2, PLAYS_A_COMMIT):
        shard.count(chance.sample(shard.videos, PLAYS_A_COMMIT), NOW_MS + start // 100)
    played = _sizes(state_dir, count, "played at random")
    shard.store.close()
    return [counted, published, played]


def _commit(shard: Shard) -> None:
    changes = shard.ledger.take_changes(NOW_MS)
    if changes is not None:
        shard.store.commit(changes)


def _sizes(state_dir: str, count: int, label: str) -> tuple[str, ...]:
    files = sum(one.stat().st_size for one in Path(state_dir).glob("counter-0.sqlite*"))
    with contextlib.closing(sqlite3.connect(ledger_path(state_dir, 0))) as connection:
        tables = [
            connection.execute(f"SELECT coalesce(sum(length(accounts)), 0) FROM {table}").fetchone()[0]
            for table in ("journal", "parts")
        ]
    return label, *(f"{one / count:.1f}" for one in (files, *tables))


if __name__ == "__main__":
    main()
