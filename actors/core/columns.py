"""Columns: many values of one kind in one packed buffer, as messages carry them.

Pure. A buffer whose length does not fit its kind raises `ValueError`: half a value is never guessed.
"""

import sys
from array import array
from collections.abc import Iterable
from struct import Struct

VIDEO_BYTES = 16
_video = Struct("16s")
ID_BYTES = 8
NUMBER_BYTES = 8


def pack_numbers(numbers: Iterable[int]) -> bytes:
    """Signed 64-bit numbers, native byte order: both ends of a pipe are on one machine."""
    return array("q", numbers).tobytes()


def unpack_numbers(column: bytes) -> array:
    """The numbers of a column, as an array of signed 64-bit integers."""
    return array("q", column)


def unpack_videos(column: bytes) -> list[bytes]:
    """The GUIDs of a column, 16 bytes each."""
    if len(column) % VIDEO_BYTES:
        raise ValueError(f"a column of {len(column)} bytes, expected a multiple of {VIDEO_BYTES}")
    return [video for (video,) in _video.iter_unpack(column)]


def unpack_ids(column: bytes) -> array:
    """The NSQ message ids of a column, as an array of unsigned 64-bit integers."""
    ids = array("Q", column)
    if sys.byteorder == "little":
        ids.byteswap()
    return ids


def count(column: bytes, size: int) -> int:
    """How many values of `size` bytes a column holds."""
    return len(column) // size
