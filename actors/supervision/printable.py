"""Text that came from outside, in the log and on the screen: it can't forge a line or steer a terminal.

Every character that is not printable (controls, newlines, U+2028, marks of writing direction, halves of
surrogate pairs) is shown as its escape, such as `\\x1b`. A text of ours that has several lines is a `Lines`;
any other is shown as one line.
"""

import io
import sys
from types import TracebackType
from typing import Any, Self

INDENT = "  "  # before each further line of a message, so that only a message begins at the start of a line


class Lines(str):
    """Text of several lines that we made, such as a traceback: print shows them, and the log joins them."""

    __slots__ = ()

    def __str__(self) -> Self:
        """Return itself, so that `print` and an exception hand on that it is lines."""
        return self


def printable(text: str, kept: str = "") -> str:
    """Escape what is not printable. `kept`: characters that stay as they are."""
    looked_at = text
    for one in kept:
        looked_at = looked_at.replace(one, "")
    if looked_at.isprintable():  # long texts of ours are: one by one takes a hundred times as long
        return text
    return "".join(
        one if one.isprintable() or one in kept else one.encode("unicode_escape").decode("ascii")
        for one in text
    )


def printable_values(value: Any) -> Any:
    """Escape every text in a value of dicts and lists, such as the JSON of an answer, for a table."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable_values(key): printable_values(one) for key, one in value.items()}
    return [printable_values(one) for one in value] if isinstance(value, list) else value


def show_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write the traceback of an exception that no code caught to stderr. For `sys.excepthook`."""
    import traceback  # here: only a bug needs it

    lines = "".join(traceback.format_exception(kind, error, trace))
    print(indented(Lines(lines.rstrip())), file=sys.stderr)


def shown_text(text: str) -> str:
    """Escape a text; if it is a `Lines`, its newlines stay."""
    return printable(text, kept="\n" if isinstance(text, Lines) else "")


def indented(*lines: str) -> Lines:
    """Put lines of any content below each other, all but the first indented. A `Lines` may be among them."""
    return Lines("\n".join(map(shown_text, lines)).replace("\n", "\n" + INDENT))


class PrintableText(io.TextIOWrapper):
    """stdout or stderr of a process: what is written to it is escaped, but for a newline at its end.

    A `Lines` keeps all its newlines.
    """

    def write(self, text: str, /) -> int:
        """Write text. Returns how many characters were written."""
        if isinstance(text, Lines) or not text.endswith("\n"):
            return super().write(shown_text(text))
        return super().write(shown_text(text[:-1]) + "\n")

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
