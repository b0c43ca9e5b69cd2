"""The messages that a ledger has counted, by which it recognizes a redelivery.

Pure. A message is identified by its source (nsqd and topic), its 64-bit id and its stamp, the nanosecond in
which nsqd received it. A redelivery has the id and the stamp of the first delivery. An nsqd whose clock was
set back over a restart gives ids again: those are other messages, and they have other stamps.

Ids are ordered by time (nsqd/guid.go: pseudo-milliseconds, node, sequence). So each bucket holds the messages
of some seconds of the ids' own time, and old messages are dropped a bucket at a time. A key is a message in
64 bits: the low bits of its id, which its bucket completes, then the low bits of its stamp. A bucket keeps
its keys in a few sorted runs, as a log-structured merge tree does (O'Neil 1996). So a message takes 8 bytes
in memory and on disk, at any rate of messages.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ..columns import Bools, distinct, numbers_of, unpack_ids, unpack_numbers
from .play_ids import PlayIds, joined_rows
from .seen_chunks import PLAY_IDS, Admitted, SeenChunk
from .sources import Sources

# The low 34 bits of an id are 4.3 s of nsqd's time: a bucket is small enough to drop without a pause.
BUCKET_SHIFT = 34
# The low 30 bits of a stamp are 1.07 s; the id says which second, because nsqd makes both at once.
STAMP_BITS = 30
EXPIRY_INTERVAL_MS = 1000
FEW = 8  # up to this many are looked up one by one: for a lone play, the CPU caches have no numpy code
LATEST_MAX = 256  # single messages that a bucket keeps before it makes a run of them

Keys = npt.NDArray[np.uint64]
_ID_MASK, _STAMP_MASK = (1 << BUCKET_SHIFT) - 1, (1 << STAMP_BITS) - 1
_ID_IN_KEY, _STAMP_IN_KEY = np.uint64(_ID_MASK << STAMP_BITS), np.uint64(_STAMP_MASK)
_STAMP_SHIFT, _BUCKET_SHIFT = np.uint64(STAMP_BITS), np.uint64(BUCKET_SHIFT)
_STORED = np.dtype("<u8")
_NONE: Keys = np.zeros(0, np.uint64)


class _Bucket:
    """The messages of one bucket.

    `runs`: sorted, each at least twice as long as the next. `latest`: stamp by id, of single messages that
    are in no run yet. `unstamped`: a run of keys whose stamp is 0. `highest_id`: of all these. Most messages
    have a higher id, and need no lookup.
    """

    __slots__ = ("highest_id", "latest", "received_ms", "runs", "unstamped")

    def __init__(self) -> None:
        self.runs: list[Keys] = []
        self.latest: dict[int, int] = {}
        self.unstamped = _NONE
        self.highest_id = -1
        self.received_ms = 0

    def __len__(self) -> int:
        return sum(map(len, self.runs)) + len(self.latest) + len(self.unstamped)

    def find(self, keys: Keys) -> tuple[Bools, Bools]:
        """For each of these sorted keys: whether it is in a run, and whether a key with its id is."""
        known, same_id = np.zeros((2, len(keys)), np.bool_)
        ids = keys & _ID_IN_KEY
        for run in self.runs:
            if run[0] & _ID_IN_KEY <= ids[-1] and ids[0] <= run[-1]:
                found = (_not_below(run, ids) & _ID_IN_KEY) == ids
                if found.any():
                    same_id |= found
                    known |= _not_below(run, keys) == keys
        if len(self.unstamped):
            known |= _not_below(self.unstamped, ids) == ids
        return known, same_id

    def add(self, run: Keys) -> None:
        """Add sorted keys that are not here."""
        self.highest_id = max(self.highest_id, int(run[-1]) >> STAMP_BITS)
        while self.runs and len(self.runs[-1]) < 2 * len(run):
            former = self.runs.pop()
            in_order = former[-1] < run[0]
            run = np.concatenate((former, run))
            if not in_order:
                run.sort(kind="stable")  # it merges sorted runs
        self.runs.append(run)

    def add_unstamped(self, columns: list[Keys]) -> None:
        """Add keys whose stamp is 0."""
        self.unstamped = distinct([self.unstamped, *columns])
        if len(self.unstamped):
            self.highest_id = max(self.highest_id, int(self.unstamped[-1]) >> STAMP_BITS)

    def add_one(self, id: int, stamp: int) -> tuple[bool, bool]:
        """Add a message, unless it is here. Both parts are the low bits.

        Returns whether it is new, and whether a message with its id and another stamp was here.
        """
        latest, known, reused = None, False, False
        if id > self.highest_id:
            self.highest_id = id
        else:
            latest = self.latest.get(id)
            key = np.array([id << STAMP_BITS | stamp], np.uint64)
            known, reused = (bool(one[0]) for one in self.find(key))
        if known or latest == stamp:
            return False, False
        if latest is not None or len(self.latest) == LATEST_MAX:
            self.settle()
        self.latest[id] = stamp
        return True, reused or latest is not None

    def settle(self) -> None:
        """Make a run of the latest messages."""
        if self.latest:
            keys = np.array([id << STAMP_BITS | stamp for id, stamp in self.latest.items()], np.uint64)
            self.latest.clear()
            keys.sort()
            self.add(keys)

    def take_over(self, other: "_Bucket") -> None:
        """Add all that another bucket of the same number has."""
        self.settle()
        other.settle()
        for run in other.runs:
            missing = run[~self.find(run)[0]]
            if len(missing):
                self.add(missing)
        self.add_unstamped([other.unstamped])
        self.received_ms = max(self.received_ms, other.received_ms)


class SeenIds:
    """The messages counted within the window, and which of them are not stored yet.

    Plays that name their identity are in `plays`, and are known by that alone. For all others a source is a
    text that names an nsqd and a topic: "127.0.0.1:4150 localhost:4150/plays". `Sources` says which texts are
    one source, and which other sources may know a message.
    """

    def __init__(self, window_ms: int, stored: Iterable[SeenChunk] = (), salt: bytes = bytes(16)):
        """`window_ms`: how long a message is known at least after the last of its bucket was received.

        `salt`: as in `VideoTable`.
        """
        stored = list(stored)
        self.plays = PlayIds(window_ms, [one for one in stored if one.source == PLAY_IDS], salt)
        self.window_ms = window_ms
        self._sources = Sources(self._join)
        self._buckets: dict[tuple[str, int], _Bucket] = {}
        self._fresh: dict[tuple[str, int], list[bytes]] = {}
        self._received_ms = 0
        self._expiry_due_ms = 0
        parts: dict[tuple[str, int, bool], list[Keys]] = {}
        for chunk in stored:
            if chunk.source == PLAY_IDS:
                continue
            source = self._sources.of(chunk.source)
            parts.setdefault((source, chunk.bucket, chunk.stamped), []).append(keys_of(chunk))
            bucket = self._bucket(source, chunk.bucket)
            bucket.received_ms = max(bucket.received_ms, chunk.received_ms)
        for (source, number, stamped), keys in parts.items():
            bucket = self._bucket(self._sources.of(source), number)
            if stamped:
                bucket.add(distinct(keys))
            else:
                bucket.add_unstamped(keys)

    def admit(self, source: str, ids: bytes, stamps: bytes, now_ms: int) -> Admitted:
        """Add the messages of two packed columns, but for those that are known.

        Raises `ValueError`, leaving the state unchanged, if the columns differ in length.
        """
        if len(ids) % 8 or len(stamps) != len(ids):
            raise ValueError(f"{len(ids)} bytes of ids, {len(stamps)} of stamps, expected 8 per message")
        if not ids:
            return Admitted()
        self._received_ms = max(self._received_ms, now_ms)
        others = self._sources.others(source)
        known = self._known_to(others, ids, stamps) if others else None
        if known is None:
            return self._admit(source, ids, stamps)
        rows = np.flatnonzero(~known)
        if not len(rows):
            return Admitted([])
        new_ids, new_stamps = (np.frombuffer(one, np.uint64).take(rows).tobytes() for one in (ids, stamps))
        admitted = self._admit(source, new_ids, new_stamps)
        places = rows if admitted.places is None else rows[admitted.places]
        return Admitted(places.tolist(), admitted.reused)

    def take_chunks(self) -> list[SeenChunk]:
        """The messages admitted since the last call, for the store."""
        chunks = []
        for (source, number), keys in self._fresh.items():
            chunks.append(SeenChunk(source, number, self._received_ms, b"".join(keys)))
        self._fresh = {}
        return chunks + self.plays.take_chunks()

    def expire(self, now_ms: int) -> list[tuple[str, int]]:
        """Drop buckets that got no message for `window_ms`. Pack those that get no more.

        Returns under which source and bucket the store has rows of them.
        """
        if now_ms < self._expiry_due_ms:
            return []
        self._expiry_due_ms = now_ms + EXPIRY_INTERVAL_MS
        for bucket in self._buckets.values():
            if bucket.latest and bucket.received_ms + EXPIRY_INTERVAL_MS < now_ms:
                bucket.settle()  # a single message takes some 100 bytes, in a run 8
        old = [key for key, bucket in self._buckets.items() if bucket.received_ms + self.window_ms < now_ms]
        for key in old:
            del self._buckets[key]
        if not old:
            return self.plays.expire(now_ms)
        texts = self._sources.texts_of({source for source, _ in old})
        self._sources.keep({source for source, _ in self._buckets})
        rows = [(text, number) for source, number in old for text in texts[source]]
        return rows + self.plays.expire(now_ms)

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values())) + len(self.plays)

    def _known_to(self, others: tuple[str, ...], ids: bytes, stamps: bytes) -> Bools | None:
        """For each message: whether another source has it; None if none has any."""
        whole = np.frombuffer(ids, ">u8").astype(np.uint64)
        numbers = whole >> _BUCKET_SHIFT
        known = np.zeros(len(whole), np.bool_)
        for number in set(numbers.tolist()):
            found = [self._buckets[one, number] for one in others if (one, number) in self._buckets]
            if found:
                rows = np.flatnonzero(numbers == np.uint64(number))
                keys = _keys(whole[rows], np.frombuffer(stamps, np.uint64)[rows])
                order = keys.argsort(kind="stable")
                for bucket in found:
                    bucket.settle()
                    known[rows[order]] |= bucket.find(keys[order])[0]
        return known if known.any() else None

    def _admit(self, source: str, ids: bytes, stamps: bytes) -> Admitted:
        if len(ids) > 8 * FEW:
            return self._admit_many(source, ids, stamps)
        under = self._sources.of(source)
        places, reused = [], 0
        for place, (id, stamp) in enumerate(zip(unpack_ids(ids), unpack_numbers(stamps), strict=True)):
            bucket = self._bucket(under, id >> BUCKET_SHIFT)
            low_id, low_stamp = id & _ID_MASK, stamp & _STAMP_MASK
            is_new, is_reused = bucket.add_one(low_id, low_stamp)
            if is_new:
                places.append(place)
                reused += is_reused
                key = (low_id << STAMP_BITS | low_stamp).to_bytes(8, "little")
                self._remember(bucket, (source, id >> BUCKET_SHIFT), key)
        return Admitted(None if place + 1 == len(places) else places, reused)

    def _admit_many(self, source: str, ids: bytes, stamps: bytes) -> Admitted:
        under = self._sources.of(source)
        whole = np.frombuffer(ids, ">u8").astype(np.uint64)
        keys = _keys(whole, numbers_of(stamps).view(np.uint64))
        number, last_number = int(whole[0]) >> BUCKET_SHIFT, int(whole[-1]) >> BUCKET_SHIFT
        in_order = bool((whole[1:] > whole[:-1]).all())
        if in_order and number == last_number:
            bucket, reused = self._bucket(under, number), 0
            are_new = int(whole[0]) & _ID_MASK > bucket.highest_id  # the usual case with one consumer
            if not are_new:  # the usual case with several
                bucket.settle()
                known, same_id = bucket.find(keys)
                are_new, reused = not known.any(), int(same_id.sum())
            if are_new:
                self._add(bucket, (source, number), keys)
                return Admitted(None, reused)
        return self._admit_any(source, keys, whole >> _BUCKET_SHIFT, in_order)

    def _admit_any(self, source: str, keys: Keys, numbers: Keys, in_order: bool) -> Admitted:
        """`numbers`: the bucket of each key. `in_order`: the whole ids ascend."""
        under = self._sources.of(source)
        # lexsort is stable: of equal messages, the first one stays first
        order = np.arange(len(keys)) if in_order else np.lexsort((keys, numbers))
        keys, numbers = keys[order], numbers[order]
        starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] ^ np.uint64(1)))
        new, reused = np.ones(len(keys), np.bool_), 0
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(keys)], strict=True):
            number = int(numbers[start])
            bucket, part = self._bucket(under, number), keys[start:end]
            bucket.settle()
            known, same_id = bucket.find(part)
            same = part[1:] & _ID_IN_KEY == part[:-1] & _ID_IN_KEY
            known[1:] |= part[1:] == part[:-1]
            same_id[1:] |= same
            new[start:end] = ~known
            added = part[~known]
            reused += int((same_id & ~known).sum())
            if len(added):
                self._add(bucket, (source, number), added)
        if new.all():
            return Admitted(None, reused)
        return Admitted(np.sort(order[new]).tolist(), reused)

    def _add(self, bucket: _Bucket, key: tuple[str, int], run: Keys) -> None:
        bucket.settle()
        bucket.add(run)
        self._remember(bucket, key, run.astype(_STORED, copy=False).tobytes())

    def _remember(self, bucket: _Bucket, key: tuple[str, int], keys: bytes) -> None:
        bucket.received_ms = max(bucket.received_ms, self._received_ms)
        self._fresh.setdefault(key, []).append(keys)

    def _bucket(self, source: str, number: int) -> _Bucket:
        bucket = self._buckets.get((source, number))
        if bucket is None:
            bucket = self._buckets[source, number] = _Bucket()
        return bucket

    def _join(self, other: str, source: str) -> None:
        """Two sources turned out to be one."""
        for key in [key for key in self._buckets if key[0] == other]:
            self._bucket(source, key[1]).take_over(self._buckets.pop(key))


def keys_of(chunk: SeenChunk) -> Keys:
    """The keys of a row, in the order in which they are stored. Raises `ValueError`."""
    return np.frombuffer(chunk.keys, _STORED).astype(np.uint64)


def _keys(ids: Keys, stamps: Keys) -> Keys:
    return ids << _STAMP_SHIFT & _ID_IN_KEY | stamps & _STAMP_IN_KEY


def merged(chunks: list[SeenChunk], of_several_ledgers: bool = False) -> SeenChunk:
    """One row in place of several, which have the same source and bucket and are stamped alike."""
    received_ms, first = max(one.received_ms for one in chunks), chunks[0]
    if first.source == PLAY_IDS:
        keys = joined_rows(chunks, may_be_twice=of_several_ledgers)
    else:
        keys = distinct([keys_of(one) for one in chunks]).astype(_STORED).tobytes()
    return SeenChunk(first.source, first.bucket, received_ms, keys, first.stamped)


def _not_below(run: Keys, keys: Keys) -> Keys:
    """For each key the first of the run that is not below it, or the last of the run."""
    return run.take(run.searchsorted(keys), mode="clip")
