"""Compares the ledgers with the totals that the client has, at a start.

If the client has more, all of the state is an older copy. If it has less than was published to it, it has
lost its store. Only videos that the ledgers have are compared: a client may have totals of another service,
or of a state before this one.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from ..core import guids
from ..core.columns import video_words
from ..core.counter.accounts import PUBLISHED, TOTAL
from ..core.shards import shard_of
from ..core.table import EMPTY
from ..core.words import counted
from ..system.exits import StoreFailure
from ..system.installation import service_command
from .accounts import read_accounts
from .database import open_read_only
from .folder import LedgerSet, find

log = logging.getLogger(__name__)

CLIENT_TOTAL_MAX = (1 << 63) - 1
RESTORED = "restored"  # in the dispatcher's `meta`: why the client may be ahead, as "a backup was restored"


class Ahead(Struct, frozen=True):
    """A video of which the client has more plays than the ledger."""

    video: bytes
    client: int
    ledger: int


def check_client(state_dir: str, client: str, totals: Mapping[bytes, int], why_behind: str = "") -> int:
    """Return of how many videos the client has less than was published to it, by the ledgers.

    `client`: its name. `totals`: those that it has, by video (16 bytes). `why_behind`: why the ledgers may be
    behind, or "". Raises `StoreFailure` if it has a greater total of any video than the ledgers. After a
    restore it may have them: that is logged, until every total was published again. Call it while no counter
    runs.
    """
    ledgers = find(state_dir)
    if ledgers is None:
        return 0
    ahead, behind = _compare(state_dir, ledgers, totals)
    outbox = ledgers.outbox(state_dir)
    with open_read_only(outbox) as connection:
        restored = connection.execute("SELECT value FROM meta WHERE key = ?", (RESTORED,)).fetchone()
    if not ahead:
        if restored:
            with contextlib.closing(sqlite3.connect(outbox)) as connection, connection:
                connection.execute("DELETE FROM meta WHERE key = ?", (RESTORED,))
        return behind
    one = max(ahead, key=lambda one: one.client - one.ledger)
    found = (
        f"{state_dir}: the client ({client}) has more plays of {counted(len(ahead), 'video')} than the "
        f"ledgers; of {guids.text(one.video)} it has {one.client}, and they have {one.ledger}"
    )
    if why_behind or restored:
        log.warning("%s, because %s: all totals are published again", found, why_behind or restored[0])
        return behind
    raise StoreFailure(
        f"{found}: all of the state is an older copy, or another service, or somebody else, has published to "
        "this client. It is left as it is: put the newer state back; or, if nothing of it is old, run "
        f"`{service_command()} backup DIR` and `{service_command()} restore DIR`, which lose nothing and "
        "have all totals published again; or restore a backup, so that all totals are published "
        f"again, with `{service_command()} restore DIR`; or use another supervisor.state_dir"
    )


def _compare(state_dir: str, ledgers: LedgerSet, totals: Mapping[bytes, int]) -> tuple[list[Ahead], int]:
    """Of which videos the client has more than the ledgers, and of how many less than was published."""
    of_shards: list[list[bytes]] = [[] for _ in range(ledgers.shards)]
    for video in totals:
        of_shards[shard_of(video, ledgers.shards)].append(video)
    ahead: list[Ahead] = []
    behind = 0
    for shard, videos in enumerate(of_shards):
        path = ledgers.ledger(state_dir, shard)
        try:
            with open_read_only(path) as connection:
                accounts = read_accounts(path, connection)
        except StoreFailure:
            continue  # its counter refuses it
        rows = accounts.rows_of(video_words(b"".join(videos)))
        known = rows != EMPTY
        told = np.array([min(totals[video], CLIENT_TOTAL_MAX) for video in videos], np.int64)
        has = np.zeros(len(accounts), np.int64)
        has[rows[known]] = told[known]
        cells = accounts.cells
        behind += int((has < cells[:, PUBLISHED]).sum())
        ahead += [
            Ahead(accounts.video(row), int(has[row]), int(cells[row, TOTAL]))
            for row in np.flatnonzero(has > cells[:, TOTAL]).tolist()
        ]
    return ahead, behind
