"""Notes which places a process reaches. Instrumented code calls it, also in processes that tests start."""

import os

HITS = "MUTANTS_HITS"
_seen: set[int] = set()


def probe(number: int) -> None:
    """Add a number to the file that the environment names, once a process."""
    if number in _seen:
        return
    _seen.add(number)
    path = os.environ.get(HITS)
    if path is None:
        return
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, b"%d\n" % number)
        os.close(file)
    except OSError:
        pass  # a test has taken the file descriptors, or the disk, away


def take(path: str) -> list[int]:
    """The numbers since the last call, from this process and from those that it has started."""
    _seen.clear()
    try:
        with open(path, "r+b") as file:
            found = file.read().split()
            file.truncate(0)
    except FileNotFoundError:
        return []
    return sorted({int(one) for one in found})
