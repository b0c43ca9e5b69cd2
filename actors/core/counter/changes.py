"""What one commit of a ledger writes: accounts, seen messages, tallies. Pure."""

from msgspec import Struct

from .accounts import AccountColumns, Part
from .seen_chunks import SeenChunk


class Tallies(Struct, frozen=True):
    """The counts of a ledger since it was made.

    `reused`: messages, counted or dead-lettered, whose id had come before with another stamp. `ran_ms`: the
    clock of the ledger, which runs only while a counter does. `stores`: how many stores the dispatcher had
    made when this ledger last heard of it. `duplicates`: plays that had been counted, and came again in
    another message.
    """

    counted: int = 0
    redelivered: int = 0
    dead_lettered: int = 0
    reused: int = 0
    ran_ms: int = 0
    stores: int = 0
    duplicates: int = 0

    def plus(
        self, counted: int, redelivered: int, dead_lettered: int = 0, reused: int = 0, duplicates: int = 0
    ) -> "Tallies":
        """These tallies, and so many more of each."""
        return Tallies(
            self.counted + counted,
            self.redelivered + redelivered,
            self.dead_lettered + dead_lettered,
            self.reused + reused,
            self.ran_ms,
            self.stores,
            self.duplicates + duplicates,
        )


class LedgerChanges(Struct, frozen=True):
    """The changes that one commit writes: accounts, seen ids, buckets of seen ids to delete, the tallies.

    `part`: in some commits, one part of the table of accounts, with these changes made.
    """

    accounts: AccountColumns
    seen: list[SeenChunk]
    expired: list[tuple[str, int]]
    tallies: Tallies
    part: Part | None = None
