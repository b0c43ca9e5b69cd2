"""What is in the memory of a process. Only Linux has /proc."""

import os
from collections.abc import Iterable


def words_in_memory(pid: int, words: Iterable[str]) -> list[str]:
    """Return those of the words that are anywhere in the memory of a process of ours. Raises `OSError`."""
    looked_for, found = [word.encode() for word in words], set()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, modes, *_ = line.split()
            begin, end = (int(one, 16) for one in span.split("-"))
            if "r" not in modes or begin >= 1 << 63:
                continue
            try:
                content = os.pread(memory.fileno(), end - begin, begin)
            except OSError:  # [vvar], and whatever else can't be read
                continue
            found |= {word for word in looked_for if word in content}
    return sorted(word.decode() for word in found)
