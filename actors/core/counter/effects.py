"""The effects of the counter's rules, beside `Send`."""

from msgspec import Struct

from .changes import LedgerChanges


class Commit(Struct, frozen=True):
    """Write a ledger's changes to its store, durably."""

    changes: LedgerChanges
