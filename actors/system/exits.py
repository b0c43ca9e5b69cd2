"""Exit codes, and the failures that end a process with one of them.

A `Failure` is not a bug: its text says what happened, to what, what was expected, what to do. It is
printed without a traceback.
"""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTENSITY = 3  # the restart intensity was exceeded
EXIT_STORE = 4  # a ledger or another store is damaged, of another format, or held by another process
EXIT_ADDRESS = 5  # an address to listen on can't be had


class Failure(Exception):
    """Something that people have to know and a restart may not mend."""

    exit_code = EXIT_FAILED


class StoreFailure(Failure):
    """A store can't be used."""

    exit_code = EXIT_STORE


class NotWritten(StoreFailure):
    """Nothing was written, and the same may work later: a full disk, one that fails, a lock held."""


class AddressFailure(Failure):
    """An address to listen on can't be had."""

    exit_code = EXIT_ADDRESS
