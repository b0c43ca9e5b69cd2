"""The parser of a command line. Words that it can't understand are shown as escapes: see `printable.py`."""

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

from .printable import Lines, printable

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


# argparse looks for translations of its words on the disk, three times a command, though there are none.
argparse._ = str  # type: ignore[attr-defined]  # it is not documented


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser. Its help and its usage are several lines; an error is one."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong, and exit with code 2. Called by argparse."""
        super().error(printable(message))

    def _print_message(self, message: str, file: "SupportsWrite[str] | None" = None) -> None:
        if message:
            (file or sys.stderr).write(Lines(message))
