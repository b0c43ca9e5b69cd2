"""Totals of many videos as columns, and as records that a client sends in place of JSON. Pure.

Millions of totals as Python's numbers and texts take a gigabyte and ten seconds.

A record has 24 bytes: the video (16 bytes), and its total (a whole number from 0 on, 8 bytes, least first).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Self

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from .columns import VIDEO_BYTES, Column, Int64s, numbers_of, pack_numbers, video_words

TOTAL_MAX = (1 << 63) - 1
RECORDS = "application/vnd.playtally.totals"  # the media type of records
FACTORS_BYTES = 24  # of the factors of `sum_of`
SUM_BITS = 64
_BLOCK = 16_384  # rows whose mixing stays in the processor's cache
_RECORD = np.dtype([("video", np.void, VIDEO_BYTES), ("total", "<i8")])


class NoTotals(Exception):
    """A client did not say its totals, and why, in words for the log."""


class TotalColumns(Struct, frozen=True):
    """Totals by video: packed columns in one order. If a video is there twice, the later total counts."""

    videos: Column = b""
    totals: Column = b""

    @classmethod
    def of(cls, totals: Mapping[bytes, int]) -> Self:
        """The columns of these totals by video (16 bytes)."""
        return cls(b"".join(totals), pack_totals(totals.values()))

    @classmethod
    def from_records(cls, content: bytes) -> Self:
        """The columns of records. Raises `ValueError` if they are damaged."""
        if len(content) % _RECORD.itemsize:
            raise ValueError(f"{len(content)} bytes, expected records of {_RECORD.itemsize} bytes")
        records = np.frombuffer(content, _RECORD)
        totals = records["total"].astype(np.int64)
        if len(totals) and totals.min() < 0:
            raise ValueError(f"a total of {totals.min()}, expected 0 or more")
        return cls(records["video"].tobytes(), totals.tobytes())

    def __len__(self) -> int:
        return len(self.videos) // VIDEO_BYTES

    def all(self) -> Self:
        """These totals. (Who has to ask a client for them does it here: `sinks/client_totals.py`.)"""
        return self

    def begin_sum(self, factors: bytes) -> Callable[[], int | None]:
        """What returns the sum of these totals: see `sum_of`."""
        return lambda: sum_of(self.words, self.numbers, factors)

    @property
    def words(self) -> Int64s:
        """The videos: two 64-bit words each."""
        return video_words(self.videos)

    @property
    def numbers(self) -> Int64s:
        """The totals."""
        return numbers_of(self.totals)


def pack_totals(totals: Iterable[int]) -> bytes:
    """A column of totals. One that is too large for it is cut to `TOTAL_MAX`."""
    return pack_numbers(min(total, TOTAL_MAX) for total in totals)


def records_of(words: Int64s, totals: Int64s) -> bytes:
    """The records of these videos (two 64-bit words each) and their totals."""
    records = np.empty(len(totals), _RECORD)
    records["video"] = np.frombuffer(np.ascontiguousarray(words).tobytes(), np.dtype((np.void, VIDEO_BYTES)))
    records["total"] = totals
    return records.tobytes()


def sum_of(words: Int64s, totals: Int64s, factors: bytes) -> int:
    """One number for many totals, whatever their order: two that differ have the same by a chance of 2^-64.

    It is the sum, modulo 2^64, of a number for each video with plays: its two words and its total, mixed as
    splitmix64 does. `factors`: 24 random bytes, so that a chance does not come twice.
    """
    first, second, third = np.frombuffer(factors, np.uint64) | np.uint64(1)
    found = 0
    for start in range(0, len(totals), _BLOCK):
        block = totals[start : start + _BLOCK]
        some = np.ascontiguousarray(words[start : start + _BLOCK]).view(np.uint64)
        mixed = _mixed(_mixed(some[:, 0] * first) + some[:, 1] * second)
        mixed = _mixed(mixed + block.astype(np.uint64) * third)
        found += int(mixed[block > 0].sum(dtype=np.uint64))
    return found % (1 << SUM_BITS)


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
