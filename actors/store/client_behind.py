"""Compares the totals that the client has with those that were published to it: it may have lost some."""

from collections.abc import Mapping

import numpy as np

from ..core.columns import video_words
from ..core.counter.accounts import PUBLISHED
from ..core.shards import shard_of
from ..core.table import EMPTY
from ..system.exits import StoreFailure
from .accounts import read_accounts
from .database import open_read_only
from .folder import find

CLIENT_TOTAL_MAX = (1 << 63) - 1


def videos_behind(state_dir: str, totals: Mapping[bytes, int]) -> int:
    """Of how many videos the client has less than was published to it, by the ledgers.

    `totals`: those that it has, by video (16 bytes). Call it while no counter runs.
    """
    ledgers = find(state_dir)
    if ledgers is None:
        return 0
    of_shards: list[list[bytes]] = [[] for _ in range(ledgers.shards)]
    for video in totals:
        of_shards[shard_of(video, ledgers.shards)].append(video)
    behind = 0
    for shard, videos in enumerate(of_shards):
        path = ledgers.ledger(state_dir, shard)
        try:
            with open_read_only(path) as connection:
                accounts = read_accounts(path, connection)
        except StoreFailure:
            continue  # its counter refuses it
        published = accounts.cells[:, PUBLISHED]
        has = np.zeros(len(accounts), np.int64)
        rows = accounts.rows_of(video_words(b"".join(videos)))
        found = np.array([min(totals[video], CLIENT_TOTAL_MAX) for video in videos], np.int64)
        has[rows[rows != EMPTY]] = found[rows != EMPTY]
        behind += int((has < published).sum())
    return behind
