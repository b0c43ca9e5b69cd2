"""Columns: many values of one kind in one packed buffer, as messages carry them.

Pure. A buffer whose length does not fit its kind raises `ValueError`: half a value is never guessed.
"""

import sys
from array import array
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

# What the packed values lie in, and what they are unpacked to.
Column: TypeAlias = bytes | bytearray
Numbers: TypeAlias = "array[int]"  # a text, as `array` takes no parameter before Python 3.12
Int64s: TypeAlias = npt.NDArray[np.int64]
Int32s: TypeAlias = npt.NDArray[np.int32]
Bools: TypeAlias = npt.NDArray[np.bool_]
Guids: TypeAlias = npt.NDArray[np.void]  # 16 bytes each

VIDEO_BYTES = 16
_video = Struct("16s")
ID_BYTES = 8
HEX_ID_BYTES = 16  # as NSQ writes an id
NUMBER_BYTES = 8
NARROW_BYTES_MIN = 128
_NARROW = [(np.dtype(kind), np.iinfo(kind).max) for kind in (np.uint8, np.uint16, np.uint32)]


def pack_numbers(numbers: Iterable[int]) -> bytes:
    """Signed 64-bit numbers, native byte order: both ends of a pipe are on one machine."""
    return array("q", numbers).tobytes()


def unpack_numbers(column: Column) -> Numbers:
    """The numbers of a column, as an array of signed 64-bit integers."""
    return array("q", column)


def unpack_videos(column: Column) -> list[bytes]:
    """The GUIDs of a column, 16 bytes each."""
    if len(column) % VIDEO_BYTES:
        raise ValueError(f"a column of {len(column)} bytes, expected a multiple of {VIDEO_BYTES}")
    return [video for (video,) in _video.iter_unpack(column)]


def numbers_of(column: Column) -> Int64s:
    """The numbers of a column, where it lies."""
    return np.frombuffer(column, np.int64)


def narrow(column: bytes) -> bytes:
    """A column of numbers in as few bytes each as the largest of them needs; the first byte says how many.
    A short one stays as wide as it is."""
    if len(column) >= NARROW_BYTES_MIN:
        numbers = numbers_of(column)
        largest = int(numbers.view(np.uint64).max())  # one below zero is larger than any other
        for kind, most in _NARROW:
            if largest <= most:
                return bytes([kind.itemsize]) + numbers.astype(kind).tobytes()
    return bytes([NUMBER_BYTES]) + column


def widen(narrowed: bytes) -> bytes:
    """The column that `narrow` was given. Raises `ValueError` for what it can't have made."""
    for kind in (*(kind for kind, _ in _NARROW), np.dtype(np.int64)):
        if narrowed[:1] == bytes([kind.itemsize]):
            return np.frombuffer(narrowed, kind, offset=1).astype(np.int64).tobytes()
    raise ValueError(f"a column whose numbers have {narrowed[:1]!r} bytes")


def video_words(column: Column) -> Int64s:
    """The GUIDs of a column, where it lies: two words each, which mean nothing but which video it is."""
    if len(column) % VIDEO_BYTES:
        raise ValueError(f"a column of {len(column)} bytes, expected a multiple of {VIDEO_BYTES}")
    return numbers_of(column).reshape(-1, 2)


def by_video(videos: Column, first: Column, second: Column) -> Iterator[tuple[bytes, int, int]]:
    """Each GUID of a column with its number in each of the two others. Raises `ValueError`, at the end of the
    shortest, when they do not match.
    """
    return zip(unpack_videos(videos), unpack_numbers(first), unpack_numbers(second), strict=True)


def unpack_ids(column: Column) -> Numbers:
    """The NSQ message ids of a column, as an array of unsigned 64-bit integers."""
    ids = array("Q", column)
    if sys.byteorder == "little":
        ids.byteswap()
    return ids


def count(column: Column, size: int) -> int:
    """How many values of `size` bytes a column holds."""
    return len(column) // size
