"""A state folder with many videos, each played once and published, written by the stores' own code.

Owns which videos those are: anyone who knows their number can make them again. Ledgers and the client's file
are written as `reshard` and an upgrade of the client's file write them: in parts, without a journal, and
without message ids, as if the plays were long ago.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

import msgspec
import numpy as np

from actors.client.store import FILE_NAME, ClientStore
from actors.client.video_rows import VideoRows
from actors.core import guids
from actors.core.columns import VIDEO_BYTES, unpack_videos
from actors.core.counter.accounts import AccountColumns, Accounts
from actors.core.counter.changes import Tallies
from actors.core.shards import shard_of
from actors.store import SqliteLedgerStore, ledger_path
from actors.store.accounts import write_whole
from actors.store.ledger import WRITE_TALLIES
from actors.system.transactions import Transaction

SHARDS = 2
BLOCK = 4096
_CLIENT = -1


def make(state_dir: Path, videos: int) -> None:
    """Make the state. `videos`: at least 2. One process for each ledger, and one for the client's file."""
    state_dir.mkdir(parents=True)
    SqliteLedgerStore(str(state_dir), 0, SHARDS, "NORMAL").close()  # it makes the files of all
    jobs = [(state_dir, videos, one) for one in (*range(SHARDS), _CLIENT)]
    with ProcessPoolExecutor(len(jobs)) as pool:
        list(pool.map(_make, *zip(*jobs, strict=True)))


def videos_of(shard: int, videos: int) -> bytes:
    """The videos of a shard, of so many in all: 16 bytes each."""
    return b"".join(_videos(shard, videos))


def _videos(shard: int, videos: int) -> Iterator[bytes]:
    left, chance = videos // SHARDS, Random(shard)
    while left:
        block = chance.randbytes(VIDEO_BYTES * BLOCK)
        found = [one for one in unpack_videos(block) if shard_of(one, SHARDS) == shard][:left]
        left -= len(found)
        yield from found


def _make(state_dir: Path, videos: int, which: int) -> None:
    if which == _CLIENT:
        _write_client(state_dir / "client", videos)
    else:
        _write_ledger(Path(ledger_path(str(state_dir), which)), videos_of(which, videos))


def _write_ledger(path: Path, videos: bytes) -> None:
    count = len(videos) // VIDEO_BYTES
    rows, ones, zeros = np.arange(count), np.ones(count, np.int64), np.zeros(count, np.int64)
    accounts = Accounts()
    accounts.load(AccountColumns(rows.tobytes(), videos, ones.tobytes(), ones.tobytes(), zeros.tobytes()))
    accounts.loaded()
    with _written(path) as connection:
        write_whole(connection, accounts)
        connection.execute(WRITE_TALLIES, (1, *msgspec.structs.astuple(Tallies(counted=count))))


def _write_client(path: Path, videos: int) -> None:
    ClientStore(path).close()  # it makes the file
    now_ns = time.time_ns()
    rows = ((guids.text(one), 1, now_ns, 0) for shard in range(SHARDS) for one in _videos(shard, videos))
    with _written(path / FILE_NAME) as connection:
        VideoRows().write_all(connection, rows)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[sqlite3.Connection]:
    """A store, written in one transaction."""
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection,
        Transaction(connection),
    ):
        yield connection
