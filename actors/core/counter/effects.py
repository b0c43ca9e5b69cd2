"""What a counter's rules ask for beside `Send`."""

from msgspec import Struct

from .ledger import Changes


class Commit(Struct, frozen=True):
    """Write a ledger's changes durably."""

    changes: Changes
