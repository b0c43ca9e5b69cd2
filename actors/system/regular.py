"""Files that others may have put there: a pipe would be waited for without end, a device read without end."""

import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file for reading. Raises `OSError`, also if it is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        check_regular(os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return open(descriptor, "rb")


def check_regular(mode: int) -> None:
    """Raise `OSError` if the mode is not a regular file's."""
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket"}
        raise OSError(0, f"it is {kinds.get(stat.S_IFMT(mode), 'a device')}, expected a file")
