"""The committed totals of all shards, whether or not a service runs."""

from collections.abc import Iterable, Iterator
from typing import Self

import numpy as np
from msgspec import Struct

from ..core.columns import Bools, Int64s, unpack_videos
from ..core.counter.accounts import PUBLISHED, TOTAL
from ..core.shards import shard_of
from .accounts import read_accounts
from .folder import check_complete, find
from .snapshot import open_snapshot


class TotalColumns(Struct, frozen=True):
    """Videos (two words each), their totals, and the last ones that the client confirmed."""

    videos: Int64s
    totals: Int64s
    published: Int64s

    def __len__(self) -> int:
        return len(self.totals)

    def at(self, places: Int64s | Bools | slice) -> Self:
        """Those at these places."""
        return type(self)(self.videos[places], self.totals[places], self.published[places])


class TotalsReader:
    """Reads all ledgers of a state folder. Raises `StoreFailure` if one is missing or damaged."""

    def __init__(self, state_dir: str):
        self._state_dir = state_dir
        self._ledgers = find(state_dir)

    @property
    def found(self) -> bool:
        """Whether the folder has ledgers."""
        return self._ledgers is not None

    def columns(self, of: Iterable[bytes] | None = None) -> TotalColumns:
        """The totals of all videos. `of`: only of the ledgers that these videos are in, if they are in any.

        Raises `StoreFailure`.
        """
        parts = list(self._cells(of)) or [np.empty((0, PUBLISHED + 1), np.int64)]
        videos, totals, published = (
            np.concatenate([one[:, columns] for one in parts]) for columns in (slice(TOTAL), TOTAL, PUBLISHED)
        )
        return TotalColumns(videos, totals, published)

    def read(self) -> list[tuple[bytes, int, int]]:
        """One row per video: video (16 bytes), total, published. Raises `StoreFailure`."""
        found = self.columns()
        videos = unpack_videos(found.videos.tobytes())
        return list(zip(videos, found.totals.tolist(), found.published.tolist(), strict=True))

    def _cells(self, of: Iterable[bytes] | None) -> Iterator[Int64s]:
        if self._ledgers is None:
            return
        check_complete(self._state_dir, self._ledgers)
        shards = range(self._ledgers.shards)
        wanted = set(shards) if of is None else {shard_of(video, len(shards)) for video in of}
        for shard in sorted(wanted):
            path = self._ledgers.ledger(self._state_dir, shard)
            with open_snapshot(path) as connection:
                accounts = read_accounts(path, connection)
            yield accounts.cells[:, : PUBLISHED + 1].copy()
