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
    if kind := other_kind(mode):
        raise OSError(0, f"it is {kind}, expected a file")


def other_kind(mode: int) -> str:
    """What has this mode, in words: "a pipe"; "" for a regular file."""
    if stat.S_ISREG(mode):
        return ""
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def other_kind_of(path: str | Path) -> str:
    """What is at a path, in words; "" for a regular file, and where nothing is."""
    return other_kind(os.stat(path).st_mode) if os.path.exists(path) else ""
