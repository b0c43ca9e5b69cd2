"""Finds the stores of a state that are older than another store of it says.

A copy of a store and its mark, put back later, contradicts nothing in itself. But each ledger keeps how many
stores the dispatcher had made when it last heard of one, and the dispatcher's store keeps how many commits
each ledger had. What is said was committed before. So a store that has fewer commits than another one has
heard of is an older copy, or has lost its last commits. Both numbers are written by commits that are made
anyway.

If the whole state is an older copy, its stores agree.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct, structs

from ..core.dispatcher.outbox import PublishTotals
from ..system.exits import StoreFailure
from ..system.installation import service_command
from .database import open_read_only
from .elsewhere import is_emptied_elsewhere
from .folder import LedgerSet
from .mark import UNTOLD_COMMITS, is_emptied, mark_path, power_cut_lost, read_mark
from .publish_totals import read_totals

log = logging.getLogger(__name__)


class Older(Struct, frozen=True):
    """A store that is older than another one says.

    `shard`: None for the dispatcher's. `has`: its commits (of the dispatcher's store: those that store a
    batch). `known`: how many `by` knows of.
    """

    path: Path
    shard: int | None
    has: int
    known: int
    by: Path

    def __str__(self) -> str:
        return (
            f"ends at commit {self.has}, and {self.by.name} knows of {self.known}: it is an older copy, or "
            "it lost its last commits"
        )

    def is_accepted(self, synchronous: str) -> bool:
        """Whether a power cut explains it, or the mark was emptied to go on all the same."""
        _, same_boot = read_mark(self.by)
        return is_emptied(self.path) or power_cut_lost(self.known - self.has, same_boot, synchronous)


def find_older(state_dir: str | Path, ledgers: LedgerSet, shards: Iterable[int]) -> list[Older]:
    """The stores that are older than another one says, among the dispatcher's and the ledgers of `shards`.

    A service may run meanwhile. A store that can't be read is left out: who opens it refuses it.
    """
    outbox = ledgers.outbox(state_dir)
    known = _totals(outbox).commits  # read first, because the ledgers go on committing
    found = []
    heard: list[tuple[int, Path]] = []
    for shard in shards:
        path = ledgers.ledger(state_dir, shard)
        numbers = _numbers(path)
        if numbers is None:
            continue
        commits, stores = numbers
        heard.append((stores, path))
        if commits < known.get(shard, 0):
            found.append(Older(path, shard, commits, known[shard], outbox))
    most, by = max(heard, default=(0, outbox))
    made = _totals(outbox).stores if most else 0  # read last, because the dispatcher goes on storing
    if made < most:
        found.append(Older(outbox, None, made, most, by))
    return found


def check_ages(
    state_dir: str | Path, ledgers: LedgerSet, shards: Iterable[int], synchronous: str
) -> list[Older]:
    """Return what `find_older` finds if all of it is accepted. Raises `StoreFailure` if it is not."""
    found = find_older(state_dir, ledgers, shards)
    refused = [one for one in found if not one.is_accepted(synchronous)]
    if refused:
        older = "; ".join(f"{one.path}: {one}" for one in refused)
        marks = " and ".join(sorted({mark_path(one.path).name for one in refused}))
        raise StoreFailure(
            f"{older}. It lacks plays that were finished on the queue, or publishes that the client has. It "
            f"is left as it is: put the newer files back; or restore the whole state from a backup with "
            f"`{service_command()} restore DIR`; or use another supervisor.state_dir; or empty {marks} to go "
            "on without what is missing"
        )
    for one in found:
        log.error("%s: %s. The service goes on without them", one.path, one)
    return found


def why_behind(
    state_dir: str | Path, ledgers: LedgerSet, found: Iterable[Older], synchronous: str, stores: int
) -> str:
    """Why the ledgers or the dispatcher's store may lack what the client has, in words; "" if they do not.

    `found`: what `check_ages` returned. `stores`: how many stores the dispatcher's has.
    """
    lacking = _go_on_without_commits(state_dir, ledgers, found, synchronous)
    outbox = ledgers.outbox(state_dir)
    if stores > UNTOLD_COMMITS and (is_emptied(outbox) or is_emptied_elsewhere(state_dir)):
        lacking.append(outbox.name)
    return f"commits of {', '.join(lacking)} may be lost" if lacking else ""


def _go_on_without_commits(
    state_dir: str | Path, ledgers: LedgerSet, found: Iterable[Older], synchronous: str
) -> list[str]:
    """The names of the stores that go on without commits: a power cut took them, or their mark was emptied.

    `found`: what `check_ages` returned.
    """
    names = {one.path.name for one in found}
    for shard in range(ledgers.shards):
        path = ledgers.ledger(state_dir, shard)
        promised, same_boot = read_mark(path)  # read first, because a counter may go on committing
        numbers = _numbers(path)
        if numbers is None:
            continue
        lost = promised - numbers[0]
        emptied = is_emptied(path) and numbers[0] > UNTOLD_COMMITS
        if emptied or (lost > 0 and power_cut_lost(lost, same_boot, synchronous)):
            names.add(path.name)
    return sorted(names)


def agreed(totals: PublishTotals, found: list[Older]) -> PublishTotals:
    """The totals of a dispatcher that goes on without what is missing: its store and the ledgers agree."""
    for one in found:
        if one.shard is None:
            totals = structs.replace(totals, stores=one.known)
        else:
            totals = structs.replace(totals, commits=totals.commits | {one.shard: one.has})
    return totals


def _totals(outbox: Path) -> PublishTotals:
    try:
        with open_read_only(outbox, upgraded=False) as connection:
            return read_totals(connection)
    except (StoreFailure, ValueError, TypeError):
        return PublishTotals()


def _numbers(path: Path) -> tuple[int, int] | None:
    """How many commits a ledger has, and how many stores of the dispatcher it knows of; None: unreadable."""
    try:
        with open_read_only(path, upgraded=False) as connection:
            names = {row[1] for row in connection.execute("PRAGMA table_info(tallies)")}
            stores = "stores" if "stores" in names else "0"  # earlier formats know of none
            commits, heard = connection.execute(f"SELECT commits, {stores} FROM tallies").fetchone()
            return int(commits), int(heard)
    except (StoreFailure, ValueError, TypeError):
        return None
