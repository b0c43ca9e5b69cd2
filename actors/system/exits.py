"""Exit codes, and the exceptions that end a process with one of them.

A `Failure` is not a bug: its text says what happened, to what, what was expected, what to do. It is
printed without a traceback, its arguments as one line each.
"""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTENSITY = 3  # the restart intensity was exceeded
EXIT_STORE = 4  # a store can't be used: damaged, gone, of another format, made for other settings, or locked
EXIT_ADDRESS = 5  # an address to listen on can't be had


class Failure(Exception):
    """An error for a person to read, which a restart may not mend."""

    exit_code = EXIT_FAILED

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class StoreFailure(Failure):
    """A store can't be used."""

    exit_code = EXIT_STORE


class WriteUnavailable(StoreFailure):
    """A store can't be written for now: a full disk, an I/O error, a lock. Nothing was written: try again."""


class AddressFailure(Failure):
    """An address to listen on can't be had."""

    exit_code = EXIT_ADDRESS
