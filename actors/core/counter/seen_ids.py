"""The ids of the messages that a ledger has counted, by which it recognizes a redelivery.

Pure. A message is identified by its source (nsqd and topic) and its 64-bit id: the ids of two nsqds can
collide, those of one nsqd can't. Ids are ordered by time (nsqd/guid.go: pseudo-milliseconds, node, sequence).
So each bucket holds the ids of some seconds of the ids' own time, in one bitmap: a batch is looked up in one
or two bitmaps, and old ids are dropped a bucket at a time. Memory is bounded by `window_ms` times the rate:
about 2 bytes per id.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct
from pyroaring import BitMap64

from ..columns import unpack_ids

# The low 34 bits of an id are 4.3 s of nsqd's time: a bucket is small enough to drop without a pause.
BUCKET_SHIFT = 34
EXPIRY_INTERVAL_MS = 1000


class SeenChunk(Struct, frozen=True):
    """The ids that one commit adds to one bucket: a row of the store. `ids` is a serialized `BitMap64`."""

    source: str
    bucket: int
    received_ms: int
    ids: bytes


class _Bucket:
    __slots__ = ("ids", "received_ms")

    def __init__(self) -> None:
        self.ids = BitMap64()
        self.received_ms = 0


class SeenIds:
    """The ids counted within the window, and which of them are not stored yet."""

    def __init__(self, window_ms: int, stored: Iterable[SeenChunk] = ()):
        self.window_ms = window_ms
        self._buckets: dict[tuple[str, int], _Bucket] = {}
        self._fresh: dict[tuple[str, int], BitMap64] = {}
        self._received_ms = 0
        self._expiry_due_ms = 0
        parts: dict[tuple[str, int], list[BitMap64]] = {}
        received_ms: dict[tuple[str, int], int] = {}
        for chunk in stored:
            key = (chunk.source, chunk.bucket)
            parts.setdefault(key, []).append(BitMap64.deserialize(chunk.ids))
            received_ms[key] = max(received_ms.get(key, 0), chunk.received_ms)
        for key, maps in parts.items():
            self._put(*key, union(maps), received_ms[key])

    def admit(self, source: str, column: bytes, now_ms: int) -> list[int] | None:
        """Add a packed column of ids. Returns the places of the new ids in it, or None if all are new."""
        ids = unpack_ids(column)
        if not ids:
            return None
        self._received_ms = max(self._received_ms, now_ms)
        batch = BitMap64(ids)
        keys = self._keys(source, batch)
        if len(batch) == len(ids) and not any(self._known(key, batch) for key in keys):
            self._remember(source, batch, keys, now_ms)
            return None
        new, places = BitMap64(), []
        for place, number in enumerate(ids):
            bucket = self._buckets.get((source, number >> BUCKET_SHIFT))
            if number not in new and (bucket is None or number not in bucket.ids):
                new.add(number)
                places.append(place)
        if new:
            self._remember(source, new, self._keys(source, new), now_ms)
        return places

    def take_chunks(self) -> list[SeenChunk]:
        """The ids admitted since the last call, for the store."""
        chunks = [
            SeenChunk(source, bucket, self._received_ms, ids.serialize())
            for (source, bucket), ids in self._fresh.items()
        ]
        self._fresh = {}
        return chunks

    def expire(self, now_ms: int) -> list[tuple[str, int]]:
        """Drop buckets that got no id for `window_ms`. Returns their keys, for the store to delete them."""
        if now_ms < self._expiry_due_ms:
            return []
        self._expiry_due_ms = now_ms + EXPIRY_INTERVAL_MS
        old = [key for key, bucket in self._buckets.items() if bucket.received_ms + self.window_ms < now_ms]
        for key in old:
            del self._buckets[key]
        return old

    def __len__(self) -> int:
        return sum(len(bucket.ids) for bucket in self._buckets.values())

    def _keys(self, source: str, batch: BitMap64) -> list[tuple[str, int]]:
        low, high = batch.min() >> BUCKET_SHIFT, batch.max() >> BUCKET_SHIFT
        if high - low <= 1:
            return [(source, bucket) for bucket in range(low, high + 1)]
        return [(source, bucket) for bucket in sorted({number >> BUCKET_SHIFT for number in batch})]

    def _known(self, key: tuple[str, int], batch: BitMap64) -> bool:
        bucket = self._buckets.get(key)
        return bucket is not None and batch.intersect(bucket.ids)

    def _remember(self, source: str, batch: BitMap64, keys: list[tuple[str, int]], now_ms: int) -> None:
        for key, part in _split(batch, keys):
            self._put(source, key[1], part, now_ms)
            if key in self._fresh:
                self._fresh[key] |= part
            else:
                self._fresh[key] = part

    def _put(self, source: str, number: int, ids: BitMap64, received_ms: int) -> None:
        bucket = self._buckets.get((source, number))
        if bucket is None:
            bucket = self._buckets[source, number] = _Bucket()
            before = self._buckets.get((source, number - 1))
            if before is not None:  # the bucket before gets hardly any more ids
                before.ids.shrink_to_fit()
        bucket.ids |= ids
        bucket.received_ms = max(bucket.received_ms, received_ms)


def union(maps: list[BitMap64]) -> BitMap64:
    """The union of bitmaps, joined in pairs: adding them one by one to a growing map is quadratic."""
    while len(maps) > 1:
        odd = maps[len(maps) & ~1 :]
        maps = [one | other for one, other in zip(maps[::2], maps[1::2], strict=False)] + odd
    return maps[0]


def _split(batch: BitMap64, keys: list[tuple[str, int]]) -> Iterator[tuple[tuple[str, int], BitMap64]]:
    if len(keys) == 1:
        yield keys[0], batch
        return
    parts: dict[int, list[int]] = {}  # one pass, even if a batch of old messages touches many buckets
    for number in batch:
        parts.setdefault(number >> BUCKET_SHIFT, []).append(number)
    for key in keys:
        if key[1] in parts:
            yield key, BitMap64(parts[key[1]])
