"""Refuses a state that is older than the client's totals: all of it is an older copy.

Only videos that the ledgers have are compared. A client may have totals of another service, or of a state
before this one.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping

from msgspec import Struct

from ..core import guids
from ..core.counter.accounts import TOTAL
from ..core.shards import shard_of
from ..core.table import EMPTY
from ..system.exits import StoreFailure
from ..system.installation import service_command
from .accounts import read_accounts
from .database import open_read_only
from .folder import LedgerSet, find

log = logging.getLogger(__name__)

RESTORED = "restored"  # in the dispatcher's `meta`: the client may be ahead, because a backup was restored


class Ahead(Struct, frozen=True):
    """A video of which the client has more plays than the ledger."""

    video: bytes
    client: int
    ledger: int


def check_client(state_dir: str, client: str, totals: Mapping[bytes, int]) -> None:
    """Raise `StoreFailure` if the client has a greater total of any video than the ledgers.

    `client`: its name. `totals`: those that it has, by video (16 bytes). After a restore it may have them:
    that is logged, until every total was published again.
    """
    ledgers = find(state_dir)
    if ledgers is None:
        return
    ahead = list(_ahead(state_dir, ledgers, totals))
    outbox = ledgers.outbox(state_dir)
    with open_read_only(outbox) as connection:
        restored = connection.execute("SELECT 1 FROM meta WHERE key = ?", (RESTORED,)).fetchone() is not None
    if not ahead:
        if restored:
            with contextlib.closing(sqlite3.connect(outbox)) as connection, connection:
                connection.execute("DELETE FROM meta WHERE key = ?", (RESTORED,))
        return
    one = max(ahead, key=lambda one: one.client - one.ledger)
    found = (
        f"{state_dir}: the client ({client}) has more plays of {len(ahead)} videos than the ledgers; of "
        f"{guids.text(one.video)} it has {one.client}, and they have {one.ledger}"
    )
    if restored:
        log.warning("%s, because a backup was restored: all totals are published again", found)
        return
    raise StoreFailure(
        f"{found}: all of the state is an older copy, or another service publishes to this client. It is "
        "left as it is: put the newer state back; or restore a backup, so that all totals are published "
        f"again, with `{service_command()} restore DIR`; or use another supervisor.state_dir"
    )


def _ahead(state_dir: str, ledgers: LedgerSet, totals: Mapping[bytes, int]) -> Iterator[Ahead]:
    of_shards: list[list[bytes]] = [[] for _ in range(ledgers.shards)]
    for video in totals:
        of_shards[shard_of(video, ledgers.shards)].append(video)
    for shard, videos in enumerate(of_shards):
        if not videos:
            continue
        path = ledgers.ledger(state_dir, shard)
        try:
            with open_read_only(path) as connection:
                accounts = read_accounts(path, connection)
        except StoreFailure:
            continue  # its counter refuses it
        for video in videos:
            row = accounts.row(video)
            has = int(accounts.cells[row, TOTAL]) if row != EMPTY else None
            if has is not None and totals[video] > has:
                yield Ahead(video, totals[video], has)
