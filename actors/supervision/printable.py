"""Text that came from outside, in the log and on the screen: it can't forge a line or steer a terminal.

Every character that is not printable (controls, newlines, U+2028, marks of writing direction, halves of
surrogate pairs) is shown as its escape, such as `\\x1b`.
"""

import io
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from numbers import Number
from typing import Any

INDENT = "  "  # before each further line of a record, so that only a record begins at the start of a line


class Lines(str):
    """Text of several lines that we made, such as a traceback: its newlines stay in the log."""

    __slots__ = ()


def printable(text: str, kept: str = "") -> str:
    """Escape what is not printable. `kept`: characters that stay as they are."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in kept else one.encode("unicode_escape").decode("ascii")
        for one in text
    )


class PrintableText(io.TextIOWrapper):
    """stdout or stderr of a process: what is written to it is escaped, but for newlines and tabs."""

    def write(self, text: str, /) -> int:
        """Write text. Returns how many characters were written."""
        return super().write(printable(text, kept="\n\t"))

    @property
    def styled(self) -> "StyledText":
        """The same stream for a program that escapes the text itself, and adds colours."""
        return StyledText(self)


class StyledText:
    """A stream that is written to as it is. All else is as `stream`."""

    def __init__(self, stream: PrintableText):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text. Returns how many characters were written."""
        return io.TextIOWrapper.write(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class LineFormatter(logging.Formatter):
    """One line a record; where we wrote a newline ourselves, further lines that are indented.

    The time is RFC 3339's, of this machine's zone: 2026-11-29T22:22:55.941+01:00. It is UTC if TZ names a
    zone that Python does not take.
    """

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """Return the time of a record. Called by logging."""
        try:
            time = datetime.fromtimestamp(record.created).astimezone()
        except ValueError:  # such as TZ=X24:00:01
            time = datetime.fromtimestamp(record.created, UTC)
        return time.isoformat(timespec="milliseconds")

    def format(self, record: logging.LogRecord) -> str:
        """Format a record. Called by logging."""
        shown = logging.makeLogRecord(record.__dict__)
        args = record.args
        if isinstance(args, Mapping):
            shown.args = {name: _shown(arg) for name, arg in args.items()}
        elif args:
            shown.args = tuple(map(_shown, args))
        shown.exc_text = None
        return printable(super().format(shown), kept="\n").replace("\n", "\n" + INDENT)


class _Shown:
    """An argument of a record, whose text is escaped when the message is made."""

    def __init__(self, arg: object):
        self._arg = arg

    def __str__(self) -> str:
        return printable(str(self._arg), kept="\n" if isinstance(self._arg, Lines) else "")

    def __repr__(self) -> str:
        return printable(repr(self._arg))


def _shown(arg: object) -> object:
    return arg if isinstance(arg, Number) else _Shown(arg)
