"""What a running service has at one moment: memory, descriptors and threads of each process, files, bytes."""

import contextlib
from collections import Counter
from pathlib import Path

import psutil

from actors.cli.launch import Service
from tests.chaos import victims

from .processes import MB

# The kinds of files in a state folder, by the beginning of their path. The first that fits counts.
_KINDS = {
    "counter-": "ledgers",
    "ledgers-": "ledgers",
    "dispatcher": "outbox",
    "nsqd/": "queue's journal",
    "client/": "client's store",
    "service.log": "log",
}


class Sampler:
    """Looks at one service from outside."""

    def __init__(self, service: Service, temporary: Path, others: dict[str, int]):
        """`temporary`: the folder for temporary files. `others`: pids of further processes, by name."""
        self._service, self._temporary, self._others = service, temporary, others

    def take(self) -> dict[tuple[str, str], float]:
        """The values now, by (of what, unit). A process that has just ended is left out."""
        found: dict[tuple[str, str], float] = {}
        for name, pid in (victims.find(self._service) | self._others).items():
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                found[name, "MB"] = process.memory_info().rss / MB
                found[name, "descriptors"] = process.num_fds()
                found[name, "threads"] = process.num_threads()
        found["backlog", "videos"] = self._service.status()["pending_videos"]
        sizes, files = bytes_by_kind(self._service.state_dir)
        found |= {(kind, "MB on disk"): size / MB for kind, size in sizes.items()}
        found["state folder", "files"] = files
        found["temporary folder", "files"] = sum(1 for _ in self._temporary.rglob("*"))
        return found


def bytes_by_kind(state_dir: Path) -> tuple[Counter[str], int]:
    """The bytes of each kind of file in a state folder, WALs apart, and the number of files and folders."""
    sizes: Counter[str] = Counter()
    files = 0
    for path in state_dir.rglob("*"):
        files += 1
        with contextlib.suppress(OSError):  # it is gone again
            if path.is_file():
                sizes[_kind(path.relative_to(state_dir).as_posix())] += path.stat().st_size
    return sizes, files


def _kind(path: str) -> str:
    kind = next((kind for begin, kind in _KINDS.items() if path.startswith(begin)), "other files")
    return f"{kind}, WAL" if path.endswith("-wal") else kind
