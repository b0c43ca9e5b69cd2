"""The plays of one read from one nsqd, in columns, and their division among the counters.

Pure. Within a shard, plays keep the order of their arrival.
"""

from array import array
from binascii import unhexlify
from collections.abc import Iterator
from zlib import crc32

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from ..columns import (
    HEX_ID_BYTES,
    ID_BYTES,
    NUMBER_BYTES,
    PLAY_ID_BYTES,
    VIDEO_BYTES,
    Column,
    rows_of,
)
from ..identity import node_id_of, rows_by_node
from ..shard_columns import changes_by_place
from ..shards import shard_of

_HEX_ID = np.dtype((np.void, HEX_ID_BYTES))
_PLAY_ID = np.dtype((np.void, PLAY_ID_BYTES))
_VIDEO = np.dtype((np.void, VIDEO_BYTES))

# The CRC of a video is the CRC of sixteen zero bytes, XORed with one change per byte. A byte's change depends
# only on its value and its place, so the changes are looked up in a table.
_ZERO = crc32(bytes(VIDEO_BYTES))
_CHANGES = np.concatenate(changes_by_place())
_STARTS = np.arange(0, VIDEO_BYTES * 256, 256)[:, None]


class Part(Struct, frozen=True):
    """Plays of one shard whose ids have one node id. `hex_ids` and `ids`: the ids, as text and in 8 bytes.

    `play_ids`: see `PlayColumns`.
    """

    shard: int
    node_id: int
    hex_ids: bytes
    ids: bytes
    videos: bytes
    arrived_ns: bytes
    play_ids: bytes

    def only(self, rows: npt.NDArray[np.intp]) -> "Part":
        """These rows of it."""
        return replace(
            self,
            hex_ids=rows_of(self.hex_ids, HEX_ID_BYTES, rows),
            ids=rows_of(self.ids, ID_BYTES, rows),
            videos=rows_of(self.videos, VIDEO_BYTES, rows),
            arrived_ns=rows_of(self.arrived_ns, NUMBER_BYTES, rows),
            play_ids=rows_of(self.play_ids, PLAY_ID_BYTES, rows) if self.play_ids else b"",
        )


class PlayColumns:
    """One row per play: message id (16 hex digits), video (16 bytes), arrival (ns).

    `play_ids`: with `nsq.play_id`, the play's identity (16 bytes), else nothing.
    """

    __slots__ = ("arrived_ns", "ids", "play_ids", "videos")

    def __init__(self) -> None:
        self.ids = bytearray()
        self.videos = bytearray()
        self.arrived_ns = array("q")
        self.play_ids = bytearray()

    def __len__(self) -> int:
        return len(self.arrived_ns)

    def add(self, more: "PlayColumns") -> None:
        """Add the rows of `more` after the others."""
        self.ids += more.ids
        self.videos += more.videos
        self.arrived_ns += more.arrived_ns
        self.play_ids += more.play_ids

    def parts(self, shards: int) -> list[Part]:
        """The plays of each shard, and of each node id. Mostly an nsqd gives one node id.

        It gives two if it had another when it got some of them, as before its host had another name.
        """
        if len(self.arrived_ns) == 1:  # without numpy's calls
            hex_ids, video = bytes(self.ids), bytes(self.videos)
            ids, columns = unhexlify(hex_ids), (video, self.arrived_ns.tobytes(), bytes(self.play_ids))
            return [Part(shard_of(video, shards), node_id_of(ids), hex_ids, ids, *columns)]
        parts = []
        for shard, hex_ids, videos, arrived_ns, play_ids in self.by_shard(shards):
            ids = unhexlify(hex_ids)
            for node_id, rows in rows_by_node(ids):
                part = Part(shard, node_id, hex_ids, ids, videos, arrived_ns, play_ids)
                parts.append(part if rows is None else part.only(rows))
        return parts

    def by_shard(self, shards: int) -> Iterator[tuple[int, bytes, bytes, bytes, bytes]]:
        """For each shard that has plays: its number; the columns of ids, videos, arrivals and play ids."""
        if not len(self):
            return
        shard_by_row = shards_of(self.videos, shards)
        order = shard_by_row.argsort(kind="stable")
        ids = np.frombuffer(self.ids, _HEX_ID).take(order).tobytes()
        videos = np.frombuffer(self.videos, _VIDEO).take(order).tobytes()
        arrived_ns = np.frombuffer(self.arrived_ns, np.int64).take(order).tobytes()
        play_ids = b""
        if self.play_ids:
            play_ids = np.frombuffer(self.play_ids, _PLAY_ID).take(order).tobytes()
        start = 0
        for shard, end in enumerate(np.bincount(shard_by_row).cumsum().tolist()):
            if end > start:
                yield (
                    shard,
                    ids[start * HEX_ID_BYTES : end * HEX_ID_BYTES],
                    videos[start * VIDEO_BYTES : end * VIDEO_BYTES],
                    arrived_ns[start * NUMBER_BYTES : end * NUMBER_BYTES],
                    play_ids[start * PLAY_ID_BYTES : end * PLAY_ID_BYTES],
                )
                start = end


def shards_of(videos: Column, shards: int) -> npt.NDArray[np.uint16]:
    """The shard of each video in a packed column (16 bytes each), as `shard_of` computes it for one."""
    by_place = np.frombuffer(videos, np.uint8).reshape(-1, VIDEO_BYTES).T
    changes = _CHANGES.take(np.add(by_place, _STARTS, order="C"))
    crcs: npt.NDArray[np.uint32] = np.bitwise_xor.reduce(changes) ^ np.uint32(_ZERO)
    return (crcs % np.uint32(shards)).astype(np.uint16)
