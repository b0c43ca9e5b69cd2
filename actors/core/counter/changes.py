"""What one commit of a ledger writes: accounts, seen messages, tallies. Pure."""

from msgspec import Struct

from .accounts import AccountColumns, Part
from .seen_ids import SeenChunk


class Tallies(Struct, frozen=True):
    """The counts of a ledger since it was made.

    `reused`: messages, counted or dead-lettered, whose id had come before with another stamp. `ran_ms`: the
    clock of the ledger, which runs only while a counter does. `stores`: how many stores the dispatcher had
    made when this ledger last heard of it.
    """

    counted: int = 0
    redelivered: int = 0
    dead_lettered: int = 0
    reused: int = 0
    ran_ms: int = 0
    stores: int = 0


class LedgerChanges(Struct, frozen=True):
    """The changes that one commit writes: accounts, seen ids, buckets of seen ids to delete, the tallies.

    `part`: in some commits, one part of the table of accounts, with these changes made.
    """

    accounts: AccountColumns
    seen: list[SeenChunk]
    expired: list[tuple[str, int]]
    tallies: Tallies
    part: Part | None = None
