"""Which counter a video belongs to: the same on every machine, in every process, for ever.

The built-in `hash` of bytes differs from process to process, so it can't be used. All sixteen bytes are
mixed, because GUIDs that people or sequences make are not random in every byte.
"""

from collections.abc import Iterable
from functools import lru_cache
from zlib import crc32

SHARDS_MAX = 64  # each is a process


def shard_of(video: bytes, shards: int) -> int:
    """The shard, 0 to shards - 1, of a video (its 16 bytes)."""
    return crc32(video) % shards


def counter_of(shard: int) -> str:
    """The child id of a shard's counter."""
    return f"counter-{shard}"


def by_shard(videos: Iterable[bytes], shards: int) -> dict[int, list[bytes]]:
    """The videos (16 bytes each) by shard, in their order."""
    found: dict[int, list[bytes]] = {}
    for video in videos:
        found.setdefault(shard_of(video, shards), []).append(video)
    return found


def is_counter(child_id: str) -> bool:
    """Whether a child is a counter."""
    return child_id.startswith("counter-")


@lru_cache(maxsize=SHARDS_MAX)
def shard_number(child_id: str) -> int:
    """The shard of a counter's child id. Raises `ValueError` for any other child."""
    name, _, number = child_id.rpartition("-")
    if name != "counter":
        raise ValueError(f"{child_id} is not a counter")
    return int(number)
