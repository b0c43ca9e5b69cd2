"""Columns: many values of one kind, packed into one buffer, as messages carry them.

Pure. A buffer that ends within a value raises `ValueError`.
"""

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from struct import Struct
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

# The types of packed and of unpacked columns.
Column: TypeAlias = bytes | bytearray
Numbers: TypeAlias = "array[int]"  # in quotes, because `array` takes no type parameter before Python 3.12
Int64s: TypeAlias = npt.NDArray[np.int64]
Int32s: TypeAlias = npt.NDArray[np.int32]
Bools: TypeAlias = npt.NDArray[np.bool_]
Guids: TypeAlias = npt.NDArray[np.void]  # 16 bytes each
_Number = TypeVar("_Number", np.int64, np.uint64)

VIDEO_BYTES = 16
GUID = np.dtype((np.void, VIDEO_BYTES))
_video = Struct("16s")
ID_BYTES = 8
PLAY_ID_BYTES = 16  # the identity of a play that its body names
HEX_ID_BYTES = 16  # an id in the form in which NSQ sends it
NUMBER_BYTES = 8
NARROW_BYTES_MIN = 128
_NOT_NARROWED = bytes([NUMBER_BYTES])
_NARROW = [(np.dtype(kind), np.iinfo(kind).max) for kind in (np.uint8, np.uint16, np.uint32)]
_WIDTHS = {kind.itemsize: kind for kind in (*(kind for kind, _ in _NARROW), np.dtype(np.int64))}
GUID_CHARACTERS = 36
_GROUPS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))  # its digits, with a dash between
_NO_WIDTH = "a column that does not begin with the width of its numbers: 1, 2, 4 or 8 bytes"


def pack_numbers(numbers: Iterable[int]) -> bytes:
    """Pack signed 64-bit numbers in native byte order: both ends of a pipe are on one machine."""
    return array("q", numbers).tobytes()


# Unpack a column of numbers into an array of signed 64-bit integers. A lone play needs it five times.
unpack_numbers: Callable[[Column], Numbers] = partial(array, "q")


def unpack_videos(column: Column) -> list[bytes]:
    """Unpack a column of videos into GUIDs of 16 bytes."""
    if len(column) % VIDEO_BYTES:
        raise ValueError(f"a column of {len(column)} bytes, expected a multiple of {VIDEO_BYTES}")
    return [video for (video,) in _video.iter_unpack(column)]


def numbers_of(column: Column) -> Int64s:
    """A column of numbers as a numpy array over the same memory."""
    return np.frombuffer(column, np.int64)


def narrow(column: bytes) -> bytes:
    """Pack a column of numbers again, with as few bytes per number as the largest needs.

    The first byte of the result is that number of bytes. A column below `NARROW_BYTES_MIN` keeps 8.
    """
    if len(column) >= NARROW_BYTES_MIN:
        numbers = numbers_of(column)
        # as unsigned, a negative number is larger than any other
        largest = int(numbers.view(np.uint64).max())
        for kind, most in _NARROW:
            if largest <= most:
                return bytes([kind.itemsize]) + numbers.astype(kind).tobytes()
    return _NOT_NARROWED + column


def narrow_all(columns: Sequence[bytes]) -> list[bytes]:
    """Do `narrow` for one or more columns, all of one length."""
    if len(columns[0]) < NARROW_BYTES_MIN:
        return list(map(_NOT_NARROWED.__add__, columns))
    return [narrow(column) for column in columns]


def widen(narrowed: bytes) -> Int64s:
    """Undo `narrow`. Raises `ValueError` for a buffer that `narrow` can't have made."""
    kind = _WIDTHS.get(narrowed[0]) if narrowed else None
    if kind is None:
        raise ValueError(_NO_WIDTH)
    return np.frombuffer(narrowed, kind, offset=1).astype(np.int64)


def widen_all(narrowed: Sequence[bytes]) -> tuple[Int64s, Int64s]:
    """Undo `narrow` for several columns: all their numbers in one array, and how many are of each column.

    A call of numpy per column would take ten times as long for short columns. Raises `ValueError` for a
    buffer that `narrow` can't have made.
    """
    heads = b"".join([one[:1] for one in narrowed])
    if len(heads) != len(narrowed) or not _WIDTHS.keys() >= set(heads):
        raise ValueError(_NO_WIDTH)
    widths = np.frombuffer(heads, np.uint8)
    lengths, beyond = np.divmod(np.fromiter(map(len, narrowed), np.int64, len(narrowed)) - 1, widths)
    if beyond.any():
        raise ValueError("a column that ends within a number")
    width_of_each = np.repeat(widths, lengths)
    numbers = np.empty(len(width_of_each), np.int64)
    for width in set(heads):
        same = b"".join([one[1:] for one in narrowed if one[0] == width])
        numbers[width_of_each == width] = np.frombuffer(same, _WIDTHS[width])
    return numbers, lengths


def video_words(column: Column) -> Int64s:
    """A column of videos as a numpy array over the same memory: two 64-bit words per video."""
    if len(column) % VIDEO_BYTES:
        raise ValueError(f"a column of {len(column)} bytes, expected a multiple of {VIDEO_BYTES}")
    return numbers_of(column).reshape(-1, 2)


def rows_of(column: Column, size: int, rows: npt.NDArray[np.intp]) -> bytes:
    """These rows of a column of values of `size` bytes."""
    return np.frombuffer(column, np.dtype((np.void, size))).take(rows).tobytes()


def guids_of(words: Int64s) -> list[str]:
    """The canonical GUIDs of videos (two words each): as `guids.text`, at a fifth of the time for many."""
    digits = np.frombuffer(words.tobytes().hex().encode(), np.uint8).reshape(-1, 32)
    written = np.full((len(digits), GUID_CHARACTERS), ord("-"), np.uint8)
    for dashes, (start, end) in enumerate(_GROUPS):
        written[:, start + dashes : end + dashes] = digits[:, start:end]
    text = written.tobytes().decode()
    return [text[at : at + GUID_CHARACTERS] for at in range(0, len(text), GUID_CHARACTERS)]


def by_video(videos: Column, first: Column, second: Column) -> Iterator[tuple[bytes, int, int]]:
    """Yield each GUID of a column with its numbers in two other columns.

    If their lengths differ, raises `ValueError` after the last value of the shortest column.
    """
    return zip(unpack_videos(videos), unpack_numbers(first), unpack_numbers(second), strict=True)


def distinct(columns: Sequence[npt.NDArray[_Number]]) -> npt.NDArray[_Number]:
    """The different numbers of these columns, sorted.

    `np.unique` takes twenty times as long for new numbers, and a tenth of a second for its first call.
    """
    numbers = np.concatenate(columns)
    numbers.sort()
    different = np.ones(len(numbers), np.bool_)
    different[1:] = numbers[1:] != numbers[:-1]
    return numbers[different]


def unpack_ids(column: Column) -> Numbers:
    """Unpack a column of NSQ message ids into an array of unsigned 64-bit integers."""
    ids = array("Q", column)
    if sys.byteorder == "little":
        ids.byteswap()
    return ids


def count(column: Column, size: int) -> int:
    """The number of values of `size` bytes in a column."""
    return len(column) // size
