"""Totals of many videos as columns, and as records that a client sends in place of JSON. Pure.

Millions of totals as Python's numbers and texts take a gigabyte and ten seconds.

A record has 24 bytes: the video (16 bytes), and its total (a whole number from 0 on, 8 bytes, least first).
"""

from collections.abc import Iterable, Mapping
from typing import Self

import numpy as np
from msgspec import Struct

from .columns import VIDEO_BYTES, Column, Int64s, numbers_of, pack_numbers, video_words

TOTAL_MAX = (1 << 63) - 1
RECORDS = "application/vnd.playtally.totals"  # the media type of records
_RECORD = np.dtype([("video", np.void, VIDEO_BYTES), ("total", "<i8")])


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
