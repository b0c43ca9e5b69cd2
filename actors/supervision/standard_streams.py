"""stdin, stdout and stderr of a command: all are open.

A failed write to stdout fails the command. What can't be written to stderr is dropped: nobody could be told.

A terminal that has no UTF-8 gets what it can show: the nearest of ASCII, or a question mark.
"""

import codecs
import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from .printable import Lines, PrintableText

EXIT_DONE, EXIT_FAILED = 0, 1

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


_NEAREST = {"└": "`", "├": "|", "│": "|", "─": "-", "…": "...", "→": "->"}
NEAREST = "playtally.nearest"  # the name of the error handler


class OutputError(OSError):
    """stdout can't be written, though its reader is still there."""


def with_open_streams(run: Callable[[], int]) -> int:
    """Open the standard streams and call `run`. Returns its exit code; 1 if stdout can't be written."""
    open_standard_streams()
    try:
        try:
            return run()
        finally:  # also after `--help`, which raises SystemExit
            sys.stdout.flush()  # here, where a reader that is gone is no failure
    except BrokenPipeError:
        drop_output()  # `totals | head -1` has read all that it wanted
        return EXIT_DONE
    except OutputError as error:
        drop_output()
        print(f"stdout can not be written: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED


def open_standard_streams() -> None:
    """Open those of the descriptors 0 to 2 that are closed, and make stdout raise `OutputError`.

    What is printed on stdout and stderr is escaped from now on: see `printable.py`.

    None of the three may stay closed, here or in a child. The next file or pipe would get the number of
    stdout, and publishes would be written into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stderr is None:  # without it, print would write to stdout
        sys.stderr = PrintableText(_Errors(2, "w", closefd=False), write_through=True)
    if sys.stdout is None:
        sys.stdout = PrintableText(_Output(1, "w", closefd=False), write_through=True)
    theirs = sys.__stderr__
    if theirs is not None and sys.stderr is theirs:
        sys.stderr = PrintableText(
            io.BufferedWriter(_Errors(2, "w", closefd=False)),
            encoding=theirs.encoding,
            errors=theirs.errors,
            line_buffering=True,
        )
    ours = sys.__stdout__
    if ours is not None and sys.stdout is ours:
        sys.stdout = PrintableText(
            io.BufferedWriter(_Output(1, "w", closefd=False)),
            encoding=ours.encoding,
            errors=_lenient(ours.errors),
            line_buffering=ours.line_buffering,
        )


def wants_plain() -> bool:
    """Whether no escape code may be shown: NO_COLOR is set, or the terminal is dumb."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def print_json(value: object) -> None:
    """Print a value as JSON in lines, all of it ASCII: no text in it steers a terminal."""
    import json  # here: `--help` does without it

    print(Lines(json.dumps(value, indent=2)))


def _lenient(errors: str | None) -> str:
    """An error handler in place of those that raise where the terminal lacks a character."""
    if errors not in (None, "strict", "surrogateescape"):  # the latter is Python's in the C locale
        return str(errors)
    codecs.register_error(NEAREST, _nearest)
    return NEAREST


def _nearest(error: UnicodeError) -> tuple[str, int]:
    """Replace what can't be encoded. Called by the codecs."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_NEAREST.get(one, "?") for one in lacking), error.end


def drop_output() -> None:
    """Send what is still in the buffer of stdout to /dev/null."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Errors(io.FileIO):
    """stderr that takes everything. Else Python would end with 120 in place of the command's exit code."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(bytes(data))


class _Output(io.FileIO):
    """stdout that raises `OutputError` for every error but a broken pipe."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error
