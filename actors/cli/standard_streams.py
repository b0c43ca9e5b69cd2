"""stdin, stdout and stderr of a command: always open, and a failure of stdout told from any other."""

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputError(OSError):
    """stdout can't be written, though its reader is still there."""


def open_standard_streams() -> None:
    """Open descriptors 0 to 2 where they are closed, and make errors of stdout an `OutputError`.

    None of the three may stay free, here or in a child: a file or pipe that got the number of stdout would
    have publishes written into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stderr is None:  # without it, print would write to stdout
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
    ours = sys.__stdout__
    if ours is not None and sys.stdout is ours:
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Output(1, "w", closefd=False)),
            encoding=ours.encoding,
            errors=ours.errors,
            line_buffering=ours.line_buffering,
        )


def drop_output() -> None:
    """Send what is still in the buffer of stdout to /dev/null."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Output(io.FileIO):
    """stdout that raises `OutputError` for every error but a broken pipe."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error
