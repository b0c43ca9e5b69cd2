"""What it costs to know every message id of the dedupe window: bytes per id, in memory and on disk; pauses.

    python -m bench.seen [--rate 100000] [--window-s 150] [--seconds 200]

The seen ids of one counter and their store get ids as nsqd makes them (nsqd/guid.go). A random half of nsqd's
ids is left out, as if another shard had it. The ids have the rate `--rate` and span `--seconds` of their own
time; the benchmark feeds them faster than that. After `--window-s`, buckets expire as fast as new ones come.
So the bytes per id are the same for a longer window: multiply them. In memory: the growth of the process,
divided by the number of ids known at the end. On disk: the size of the ledger after a checkpoint, free pages
included. Pauses: the longest CPU time of one call of each kind, so that other work of the machine is not in
them.
"""

import contextlib
import random
import sqlite3
import time
from array import array
from collections.abc import Iterator
from itertools import count, islice

import numpy as np

from actors.core.columns import pack_numbers
from actors.core.counter.accounts import Accounts
from actors.core.counter.changes import LedgerChanges, Tallies
from actors.core.counter.seen_ids import Admitted, SeenIds
from actors.store import SqliteLedgerStore, ledger_path

from .command import folder, parser
from .processes import own_memory_bytes

SOURCE = "127.0.0.1:4150/plays"
IDS_A_COMMIT = 500
NSQD_MS_NS = 1 << 20  # nsqd counts in units of 2**20 ns, about a millisecond
BEGIN_NS = 1_795_500_000 * 10**9


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--rate", type=int, default=100_000, help="ids a second")
    arguments.add_argument("--window-s", type=float, default=150)
    arguments.add_argument("--seconds", type=float, default=200)
    options = arguments.parse_args()
    with folder() as path:
        state_dir = str(path)
        store = SqliteLedgerStore(state_dir, 0, 1, "NORMAL")
        nothing = Accounts().columns(np.zeros(0, np.int64))
        seen = SeenIds(int(options.window_s * 1000))
        before_bytes = own_memory_bytes()
        longest_s = dict.fromkeys(("admit", "expire", "commit", "commit that expires"), 0.0)

        @contextlib.contextmanager
        def timed(name: str) -> Iterator[None]:
            started_s = time.thread_time()
            yield
            longest_s[name] = max(longest_s[name], time.thread_time() - started_s)

        numbers = _ids(random.Random(1), options.rate)
        ids = int(options.rate * options.seconds)
        for first in range(0, ids, IDS_A_COMMIT):
            ids_column, stamps = _columns(numbers)
            now_ms = (BEGIN_NS + first * 10**9 // options.rate) // 1_000_000
            with timed("admit"):
                admitted = seen.admit(SOURCE, ids_column, stamps, now_ms)
            assert admitted == Admitted()
            with timed("expire"):
                expired = seen.expire(now_ms)
            changes = LedgerChanges(nothing, seen.take_chunks(), expired, Tallies())
            with timed("commit that expires" if expired else "commit"):
                store.commit(changes)
        grown_bytes = own_memory_bytes() - before_bytes
        known = len(seen)
        store.close()
        with contextlib.closing(sqlite3.connect(ledger_path(state_dir, 0))) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        disk_bytes = ledger_path(state_dir, 0).stat().st_size
    print(f"{ids:,} ids at {options.rate:,} a second, {known:,} of them known at the end:")
    print(f"  {grown_bytes / known:.2f} bytes an id in memory, {disk_bytes / known:.2f} on disk")
    print("  longest pauses, ms: " + ", ".join(f"{name} {one * 1000:.1f}" for name, one in longest_s.items()))


def _ids(chance: random.Random, rate: int) -> Iterator[int]:
    """A random half of the ids that one nsqd makes at twice the rate."""
    last, number = 0, 0
    for at in count():
        moment = (BEGIN_NS + at * 10**9 // (2 * rate)) // NSQD_MS_NS
        last, number = moment, number + 1 if moment == last else 0
        if chance.random() < 0.5:
            yield (moment << 22) | (77 << 12) | number


def _columns(ids: Iterator[int]) -> tuple[bytes, bytes]:
    """Ids, and stamps in their milliseconds."""
    column = array("Q", islice(ids, IDS_A_COMMIT))
    stamps = pack_numbers((id >> 22) * NSQD_MS_NS + place for place, id in enumerate(column))
    column.byteswap()
    return column.tobytes(), stamps


if __name__ == "__main__":
    main()
