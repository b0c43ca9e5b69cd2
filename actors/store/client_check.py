"""Compares the ledgers with the totals that the client has, at a start.

If the client has more, all of the state is an older copy. If it has less than was published to it, it has
lost its store. Only videos that the ledgers have are compared: a client may have totals of another service,
or of a state before this one.
"""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
from msgspec import Struct

from ..config import Settings
from ..core import guids
from ..core.counter.accounts import PUBLISHED, TOTAL, Accounts
from ..core.shard_columns import shards_of
from ..core.table import EMPTY
from ..core.total_columns import FACTORS_BYTES, SUM_BITS, NoTotals, TotalColumns, sum_of
from ..core.words import counted
from ..system.exits import StoreFailure
from ..system.installation import service_command
from .accounts import read_accounts
from .database import open_read_only
from .folder import LedgerSet, find
from .older import find_older, why_behind
from .publish_totals import read_totals
from .snapshot import open_snapshot

log = logging.getLogger(__name__)

Opener = Callable[[Path], AbstractContextManager[sqlite3.Connection]]
RESTORED = "restored"  # in the dispatcher's `meta`: why the client may be ahead, as "a backup was restored"


class ClientTotals(Protocol):
    """The totals that a client has. `TotalColumns` are some."""

    def begin_sum(self, factors: bytes) -> Callable[[], int | None]:
        """Begin to find out their `sum_of`. What is returned waits for it; None: only `all` tells."""

    def all(self) -> TotalColumns:
        """All of them."""


class Ahead(Struct, frozen=True):
    """A video of which the client has more plays than the ledger."""

    video: bytes
    client: int
    ledger: int


class Comparison(Struct, frozen=True):
    """What a comparison has found.

    `ahead`: of how many videos the client has more, in words; "" if of none. `behind`: of how many it has
    less than was published to it. `restored`: why it may have more, or "".
    """

    ahead: str
    behind: int
    restored: str

    def warning(self, why_behind: str = "") -> str:
        """What a start warns of; "" if of nothing. `why_behind`: as in `check_client`.

        Raises `StoreFailure` if the client has more, and nothing says why it may.
        """
        if not self.ahead:
            return ""
        if why_behind or self.restored:
            return f"{self.ahead}, because {why_behind or self.restored}: all totals are published again"
        raise StoreFailure(
            f"{self.ahead}: all of the state is an older copy, or another service, or somebody else, has "
            "published to this client. It is left as it is: put the newer state back; or, if nothing of it "
            f"is old, run `{service_command()} backup DIR` and `{service_command()} restore DIR`, which lose "
            "nothing and have all totals published again; or restore a backup, so that all totals are "
            f"published again, with `{service_command()} restore DIR`; or use another supervisor.state_dir"
        )


def check_client(state_dir: str, client: str, totals: ClientTotals, why_behind: str = "") -> int:
    """Return of how many videos the client has less than was published to it, by the ledgers.

    `client`: its name. `totals`: those that it has. If it does not say them, a line of the log says so.
    `why_behind`: why the ledgers may be behind, or "". Raises `StoreFailure` if it has a greater total of any
    video than the ledgers. After a restore it may have them: that is logged, until every total was published
    again. Call it while no counter runs.
    """
    ledgers = find(state_dir)
    if ledgers is None:
        return 0
    try:
        found = compare(state_dir, ledgers, client, totals)
    except NoTotals as error:
        log.warning("%s", error)
        return 0
    if warning := found.warning(why_behind):
        log.warning("%s", warning)
    elif found.restored:
        with contextlib.closing(sqlite3.connect(ledgers.outbox(state_dir))) as connection, connection:
            connection.execute("DELETE FROM meta WHERE key = ?", (RESTORED,))
    return found.behind


def check_before_start(settings: Settings, client: str, totals: ClientTotals) -> str:
    """Judge these totals as the next start will, and change nothing. Returns what it will warn of, or "".

    Raises `StoreFailure` if the start will.
    """
    state_dir, synchronous = settings.supervisor.state_dir, settings.counters.synchronous
    ledgers = find(state_dir)
    if ledgers is None:
        return ""
    with open_snapshot(ledgers.outbox(state_dir)) as connection:
        stores = read_totals(connection).stores
    older = find_older(state_dir, ledgers, range(ledgers.shards))
    why = why_behind(state_dir, ledgers, older, synchronous, stores)
    return compare(state_dir, ledgers, client, totals, open_snapshot).warning(why)


def compare(
    state_dir: str,
    ledgers: LedgerSet,
    client: str,
    totals: ClientTotals,
    opened: Opener = open_read_only,
) -> Comparison:
    """Compare the ledgers with the totals of a client, and change nothing. The arguments: see `check_client`.

    `opened`: opens a store; one that others may have open is opened by `open_snapshot`.
    """
    ahead, behind = _compare(state_dir, ledgers, totals, opened)
    with opened(ledgers.outbox(state_dir)) as connection:
        restored = connection.execute("SELECT value FROM meta WHERE key = ?", (RESTORED,)).fetchone()
    told = ""
    if ahead:
        one = max(ahead, key=lambda one: one.client - one.ledger)
        told = (
            f"{state_dir}: the client ({client}) has more plays of {counted(len(ahead), 'video')} than the "
            f"ledgers; of {guids.text(one.video)} it has {one.client}, and they have {one.ledger}"
        )
    return Comparison(told, behind, str(restored[0]) if restored else "")


def _compare(
    state_dir: str, ledgers: LedgerSet, totals: ClientTotals, opened: Opener
) -> tuple[list[Ahead], int]:
    """Of which videos the client has more than the ledgers, and of how many less than was published.

    Where nothing was counted, the client is not asked.
    """
    factors, client_sum = os.urandom(FACTORS_BYTES), None
    found: dict[int, Accounts] = {}
    for shard in range(ledgers.shards):
        path = ledgers.ledger(state_dir, shard)
        # its counter refuses a ledger that can't be read
        with contextlib.suppress(StoreFailure), opened(path) as connection:
            found[shard] = read_accounts(path, connection, to_look_up=False)
            if client_sum is None and len(found[shard]):
                client_sum = totals.begin_sum(factors)  # the client makes it while the others are read
    if client_sum is None:
        return [], 0
    told_sum = client_sum()
    if told_sum is not None and _are_as_published(found, factors, told_sum):
        return [], 0
    columns = totals.all()
    words, numbers = columns.words, columns.numbers
    shards = shards_of(columns.videos, ledgers.shards)
    ahead: list[Ahead] = []
    behind = 0
    for shard, accounts in found.items():
        try:
            accounts.loaded()
        except ValueError:
            continue  # its counter refuses it, too
        own = shards == shard
        rows, told = accounts.rows_of(words[own]), numbers[own]
        known = rows != EMPTY
        has = np.zeros(len(accounts), np.int64)
        has[rows[known]] = told[known]
        cells = accounts.cells
        behind += int((has < cells[:, PUBLISHED]).sum())
        ahead += [
            Ahead(accounts.video(row), int(has[row]), int(cells[row, TOTAL]))
            for row in np.flatnonzero(has > cells[:, TOTAL]).tolist()
        ]
    return ahead, behind


def _are_as_published(ledgers: Mapping[int, Accounts], factors: bytes, client_sum: int) -> bool:
    """Whether the client has exactly what was published to it, as after an orderly stop.

    By a sum over all videos, which takes a fraction of looking them up. If it is the same by chance, a
    difference is found at a later start: the sum has other factors each time.
    """
    left = client_sum
    for accounts in ledgers.values():
        cells = accounts.cells
        if (cells[:, PUBLISHED] > cells[:, TOTAL]).any():
            return False
        left -= sum_of(cells[:, :TOTAL], cells[:, PUBLISHED], factors)
    return left % (1 << SUM_BITS) == 0
