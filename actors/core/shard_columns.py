"""`shards.shard_of`, for a column of videos at once. Pure.

The CRC of a video is the CRC of sixteen zero bytes, XORed with one change for each byte. A byte's change is
that of its bits, XORed; so the changes of 128 bits make the table of all.
"""

from functools import cache
from zlib import crc32

import numpy as np
import numpy.typing as npt

from .columns import VIDEO_BYTES, Column, Int64s

_ZERO = crc32(bytes(VIDEO_BYTES))


def shards_of(videos: Column, shards: int) -> Int64s:
    """The shard, 0 to shards - 1, of each video (16 bytes)."""
    by_byte = np.frombuffer(videos, np.uint8).reshape(-1, VIDEO_BYTES)
    crcs = np.full(len(by_byte), _ZERO, np.uint32)
    for place, changes in enumerate(changes_by_place()):
        crcs ^= changes.take(by_byte[:, place])
    return (crcs % np.uint32(shards)).astype(np.int64)


@cache
def changes_by_place() -> list[npt.NDArray[np.uint32]]:
    """For each place, what each value of its byte changes in the CRC of a video."""
    found = []
    for place in range(VIDEO_BYTES):
        changes = np.zeros(1, np.uint32)
        for bit in range(8):
            one = bytes(place) + bytes([1 << bit]) + bytes(VIDEO_BYTES - 1 - place)
            changes = np.concatenate([changes, changes ^ np.uint32(crc32(one) ^ _ZERO)])
        found.append(changes)
    return found
