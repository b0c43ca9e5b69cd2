"""A disk for a state folder that can be filled: a small tmpfs if mounting is permitted; otherwise a limit on
the size of files in the running children (Linux); otherwise nothing.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

SIZE = "96m"


class Tmpfs:
    """A file system of its own. When it is full, ledgers, batches, the queue and the log all fail."""

    how = f"a tmpfs of {SIZE}"

    def __init__(self, path: Path):
        self._ballast = path / "ballast"

    def fill(self, pids: list[int]) -> None:
        """Leave no free byte."""
        with open(self._ballast, "ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"\0" * size)

    def free(self, pids: list[int]) -> None:
        """Free the space."""
        self._ballast.unlink(missing_ok=True)


class Limit:
    """A limit on the size of files: these processes can write no file."""

    how = "RLIMIT_FSIZE in the children, as mounting is not permitted"

    def fill(self, pids: list[int]) -> None:
        """Set the limit."""
        _limit(pids, 0)

    def free(self, pids: list[int]) -> None:
        """Remove the limit. Younger processes have none."""
        _limit(pids, None)


class NoFill:
    """No disk that can be filled."""

    how = "not tried: neither mounting nor prlimit is possible here"

    def fill(self, pids: list[int]) -> None:
        """Do nothing."""

    free = fill


Disk = Tmpfs | Limit | NoFill


@contextlib.contextmanager
def open_disk(path: Path) -> Iterator[Disk]:
    """The best disk at this path that the machine permits."""
    path.mkdir(parents=True, exist_ok=True)
    if not _mount(path):
        yield Limit() if hasattr(psutil.Process, "rlimit") else NoFill()
        return
    try:
        yield Tmpfs(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False)


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
