"""What it costs to know every message id of the dedupe window: bytes per id, in memory and on disk; pauses.

    python -m bench.seen [--rate 100000] [--window-s 150] [--seconds 200] [--play-ids]

The seen ids of one counter and their store get ids as nsqd makes them (nsqd/guid.go). A random half of nsqd's
ids is left out, as if another shard had it. The ids have the rate `--rate` and span `--seconds` of their own
time; the benchmark feeds them faster than that. A commit has the ids of `COMMIT_S`, as in a service that is
not behind: at 150 ids a second each id has a commit of its own. After `--window-s`, buckets expire as fast as
new ones come. So the bytes per id are the same for a longer window: multiply them.

In memory: the growth of the process from a fifth of the window to its end, divided by the ids that came in
between; and what the first fifth takes above that, which does not depend on the number of ids. On disk: the
size of the ledger at the end, free pages included, without its journal of accounts. Pauses: the longest CPU
time of one call of each kind, so that other work of the machine is not in them.

`--play-ids`: the plays name their identity (nsq.play_id), and are known by it.
"""

import contextlib
import random
import sqlite3
import time
from array import array
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np

from actors.core.columns import PLAY_ID_BYTES, pack_numbers
from actors.core.counter.accounts import Accounts
from actors.core.counter.changes import LedgerChanges, Tallies
from actors.core.counter.seen_chunks import Admitted
from actors.core.counter.seen_ids import SeenIds
from actors.store import SqliteLedgerStore, ledger_path

from .command import folder, parser
from .processes import MB, own_memory_bytes

SOURCE = "127.0.0.1:4150/plays"
COMMIT_S = 0.005
SHARE = 0.2
NSQD_MS_NS = 1 << 20  # nsqd counts in units of 2**20 ns, about a millisecond
BEGIN_NS = 1_795_500_000 * 10**9


class Memory:
    """The memory of this process while ids come: at first, at a fifth of the window, at its end."""

    def __init__(self, seen: SeenIds, window_ids: float):
        self._seen = seen
        self._due = [window_ids * SHARE, window_ids]
        self._before_bytes = own_memory_bytes()
        self._found: list[tuple[int, int]] = []  # ids known, bytes more than before

    def look(self, ids: int) -> None:
        """Note the memory if one of the two moments has come. `ids`: how many came so far."""
        if len(self._found) < len(self._due) and ids >= self._due[len(self._found)]:
            self._found.append((len(self._seen), own_memory_bytes() - self._before_bytes))

    def bytes_an_id(self) -> float:
        """What each further id takes."""
        (early_ids, early_bytes), (late_ids, late_bytes) = self._found
        return (late_bytes - early_bytes) / (late_ids - early_ids)

    def fixed_bytes(self) -> float:
        """What does not depend on the number of ids."""
        ids, found_bytes = self._found[0]
        return found_bytes - ids * self.bytes_an_id()


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--rate", type=int, default=100_000, help="ids a second")
    arguments.add_argument("--window-s", type=float, default=150)
    arguments.add_argument("--seconds", type=float, default=200)
    arguments.add_argument("--play-ids", action="store_true", help="as with nsq.play_id")
    options = arguments.parse_args()
    if options.seconds <= options.window_s:
        arguments.error("--seconds is too short, expected more than --window-s")
    with folder() as path:
        state_dir = str(path)
        store = SqliteLedgerStore(state_dir, 0, 1, "NORMAL")
        nothing = Accounts().columns(np.zeros(0, np.int64))
        seen = SeenIds(int(options.window_s * 1000))
        memory = Memory(seen, options.rate * options.window_s)
        longest_s = dict.fromkeys(("admit", "expire", "commit", "commit that expires"), 0.0)

        @contextlib.contextmanager
        def timed(name: str) -> Iterator[None]:
            started_s = time.thread_time()
            yield
            longest_s[name] = max(longest_s[name], time.thread_time() - started_s)

        chance = random.Random(2)
        numbers = _ids(random.Random(1), options.rate)
        ids = int(options.rate * options.seconds)
        ids_a_commit = max(1, int(options.rate * COMMIT_S))
        for first in range(0, ids, ids_a_commit):
            ids_column, stamps = _columns(numbers, ids_a_commit)
            now_ms = (BEGIN_NS + first * 10**9 // options.rate) // 1_000_000
            named = chance.randbytes(PLAY_ID_BYTES * ids_a_commit) if options.play_ids else b""
            with timed("admit"):
                if named:
                    admitted = seen.plays.admit(named, ids_column, stamps, now_ms)
                else:
                    admitted = seen.admit(SOURCE, ids_column, stamps, now_ms)
            assert admitted == Admitted()
            with timed("expire"):
                expired = seen.expire(now_ms)
            changes = LedgerChanges(nothing, seen.take_chunks(), expired, Tallies())
            with timed("commit that expires" if expired else "commit"):
                store.commit(changes)
            memory.look(first)
        known = len(seen)
        store.close()
        disk_bytes = _disk_bytes(ledger_path(state_dir, 0))
    print(f"{ids:,} ids at {options.rate:,} a second, {ids_a_commit} a commit, {known:,} known at the end:")
    an_id, fixed_mb = memory.bytes_an_id(), memory.fixed_bytes() / MB
    print(f"  {an_id:.2f} bytes an id in memory and {fixed_mb:.1f} MB; {disk_bytes / known:.2f} on disk")
    print("  longest pauses, ms: " + ", ".join(f"{name} {one * 1000:.1f}" for name, one in longest_s.items()))


def _disk_bytes(ledger: Path) -> int:
    """The bytes of a ledger without its journal of accounts, which has a row for each commit."""
    with contextlib.closing(sqlite3.connect(ledger, isolation_level=None)) as connection:

        def told(name: str) -> int:
            (found,) = connection.execute(f"PRAGMA {name}").fetchone()
            return int(found)

        free = told("freelist_count")
        connection.execute("DELETE FROM journal")
        pages = told("page_count") - (told("freelist_count") - free)
        return pages * told("page_size")


def _ids(chance: random.Random, rate: int) -> Iterator[int]:
    """A random half of the ids that one nsqd makes at twice the rate."""
    last, number = 0, 0
    for at in count():
        moment = (BEGIN_NS + at * 10**9 // (2 * rate)) // NSQD_MS_NS
        last, number = moment, number + 1 if moment == last else 0
        if chance.random() < 0.5:
            yield (moment << 22) | (77 << 12) | number


def _columns(ids: Iterator[int], number: int) -> tuple[bytes, bytes]:
    """So many ids, and stamps in their milliseconds."""
    column = array("Q", islice(ids, number))
    stamps = pack_numbers((id >> 22) * NSQD_MS_NS + place for place, id in enumerate(column))
    column.byteswap()
    return column.tobytes(), stamps


if __name__ == "__main__":
    main()
