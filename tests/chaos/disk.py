"""A disk for a state folder. The disk can be filled and freed.

The disk is a small tmpfs if mounting is permitted. Otherwise, on Linux, a limit stops the service's children
from writing files. Otherwise no disk can be filled.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

SIZE = "96m"


class Tmpfs:
    """A file system for the state folder alone. When it is full, no file in the state folder can grow."""

    how = f"a tmpfs of {SIZE}"

    def __init__(self, path: Path):
        self._ballast = path / "ballast"

    def fill(self, pids: list[int]) -> None:
        """Fill the file system to the last byte."""
        with open(self._ballast, "ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"\0" * size)

    def fill_to(self, share: float) -> None:
        """Fill the file system until this share of it is used, 0 to 1."""
        found = os.statvfs(self._ballast.parent)
        more = int((share * found.f_blocks - (found.f_blocks - found.f_bfree)) * found.f_frsize)
        self._ballast.write_bytes(bytes(max(0, more)))

    def free(self, pids: list[int]) -> None:
        """Delete the file that fills the file system."""
        self._ballast.unlink(missing_ok=True)


class Limit:
    """A limit of 0 bytes on the size of files. A process with this limit can write to no file."""

    how = "RLIMIT_FSIZE in the children, because mounting is not permitted"

    def fill(self, pids: list[int]) -> None:
        """Set the limit for the processes `pids`."""
        _limit(pids, 0)

    def free(self, pids: list[int]) -> None:
        """Remove the limit from the processes `pids`.

        If the forkserver has the limit, children that it starts before `free` inherit the limit and keep it.
        """
        _limit(pids, None)


class NoFill:
    """The disk on a machine that permits neither a tmpfs nor a limit."""

    how = "not tried: neither mounting nor prlimit is possible here"

    def fill(self, pids: list[int]) -> None:
        """Do nothing."""

    free = fill


Disk = Tmpfs | Limit | NoFill


@contextlib.contextmanager
def open_disk(path: Path) -> Iterator[Disk]:
    """Yield the first of `Tmpfs`, `Limit` and `NoFill` that the machine permits, for the folder `path`."""
    path.mkdir(parents=True, exist_ok=True)
    if not _mount(path):
        yield Limit() if hasattr(psutil.Process, "rlimit") else NoFill()
        return
    try:
        yield Tmpfs(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False)


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Tmpfs]:
    """Yield a `Tmpfs` for the folder `path`. Without the right to mount the test is skipped, in CI too.

    A container has that right only if its host gives it. No installation can make up for it.
    """
    with open_disk(path) as disk:
        if not isinstance(disk, Tmpfs):
            pytest.skip("no small file system can be mounted here: it needs root")
        yield disk


def _mount(path: Path) -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _limit(pids: list[int], size: int | None) -> None:
    for pid in pids:
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            _, most = process.rlimit(psutil.RLIMIT_FSIZE)
            process.rlimit(psutil.RLIMIT_FSIZE, (most if size is None else size, most))
