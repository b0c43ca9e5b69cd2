"""What `nsq.play_id` costs: the CPU of consumer and counter per play, with and without it, in one run.

    python -m bench.play_ids [--rounds 15] [--known 1000000] [--id-bytes 36]

Each round parses reads of plays, divides them among two shards, and has one ledger count and commit them
(SQLite, synchronous = NORMAL), in four ways in turn. "Twice": each play comes again in another message, in
the next read; the figures are of a message. Before the rounds, each ledger has seen `--known` plays in an
hour. The ratios are of the medians, within this run. `bench.seen --play-ids` measures bytes.
"""

import statistics
import struct
import time
import uuid
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeVar

from actors.core.columns import pack_numbers
from actors.core.consumer.frames import MESSAGE_TYPE, FrameParser, Parsed
from actors.core.consumer.identified import make_bodies
from actors.core.counter.ledger import Ledger
from actors.core.counter.seen_ids import SeenIds
from actors.core.messages import Plays
from actors.store import SqliteLedgerStore

from .command import folder, parser, show

TOPIC, NAME, SOURCE = "plays", "id", "127.0.0.1:4150/plays"
VIDEOS, SHARDS, READS = 100, 2, 40
WINDOW_MS, BEGIN_MS = 3_600_000, 1_795_500_000_000
KNOWN_AT_ONCE = 2000
READ_NS = 20_000_000  # from one read to the next
Done = TypeVar("Done")


class Way(NamedTuple):
    """A way in which plays come. `has_ids`: their bodies do. `copies`: how many messages each play has."""

    name: str
    play_id: str
    has_ids: bool = True
    copies: int = 1


WAYS = (
    Way('""', "", has_ids=False),
    Way('"", and bodies have ids', ""),
    Way('"id"', NAME),
    Way('"id", each play twice', NAME, copies=2),
)


class Subject:
    """Consumer and counter of one way, and the plays that come."""

    def __init__(self, way: Way, path: Path, plays_a_read: int, known: int, id_bytes: int):
        self._way, self._plays_a_read, self._id_bytes = way, plays_a_read, id_bytes
        self._chance, self._number, self._arrived_ns = Random(1), 0, BEGIN_MS * 1_000_000
        self._parser = FrameParser(make_bodies(TOPIC, way.play_id))
        self._store = SqliteLedgerStore(str(path), 0, 1, "NORMAL")
        self._ledger = Ledger(SeenIds(WINDOW_MS), *self._store.load()[::2])
        self._now_ms = 0
        self._know(known)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def round(self) -> tuple[float, float]:
        """µs of CPU per message, of the consumer and of the counter, in one round."""
        reads = [self._read(read) for read in self._reads()]
        parsed, consumer_s = _timed(lambda: [self._parse(read) for read in reads])
        _, counter_s = _timed(lambda: list(map(self._count, chain.from_iterable(parsed))))
        messages = READS * self._plays_a_read
        return consumer_s * 1e6 / messages, counter_s * 1e6 / messages

    def _reads(self) -> list[list[bytes]]:
        fresh = READS // self._way.copies
        several = [[self._body() for _ in range(self._plays_a_read)] for _ in range(fresh)]
        return [one for one in several for _ in range(self._way.copies)]

    def _read(self, bodies: list[bytes]) -> bytes:
        self._arrived_ns += READ_NS
        return b"".join(map(self._frame, bodies))

    def _body(self) -> bytes:
        video = self._video()
        if not self._way.has_ids:
            return f'{{"video_id":"{video}"}}'.encode()
        play_id = str(uuid.UUID(int=self._chance.getrandbits(128)))[: self._id_bytes].ljust(
            self._id_bytes, "x"
        )
        return f'{{"video_id":"{video}","{NAME}":"{play_id}"}}'.encode()

    def _video(self) -> uuid.UUID:
        return uuid.UUID(int=self._chance.randrange(VIDEOS))

    def _frame(self, body: bytes) -> bytes:
        self._number += 1
        stamp = self._arrived_ns + self._number % 4096
        id = (stamp >> 20 << 22) + self._number % 4096
        return struct.pack(">iiqH16s", 30 + len(body), MESSAGE_TYPE, stamp, 1, b"%016x" % id) + body

    def _parse(self, read: bytes) -> list[Plays]:
        parsed: Parsed = self._parser.feed(read)
        assert len(parsed.plays) == self._plays_a_read
        return [
            Plays(1, SOURCE, bytes.fromhex(ids.decode()), videos, stamps, 0, play_ids)
            for _, ids, videos, stamps, play_ids in parsed.plays.by_shard(SHARDS)
        ]

    def _count(self, plays: Plays) -> None:
        self._now_ms += READ_NS // SHARDS // 1_000_000
        self._ledger.apply(plays, self._now_ms, (BEGIN_MS + 10**7) * 1_000_000)
        changes = self._ledger.take_changes(self._now_ms)
        if changes is not None:
            self._store.commit(changes)

    def _know(self, known: int) -> None:
        for number in range(0, known, KNOWN_AT_ONCE):
            self._now_ms = number * WINDOW_MS // known
            arrived_ns = (BEGIN_MS - WINDOW_MS + self._now_ms) * 1_000_000
            stamps = pack_numbers(arrived_ns + one for one in range(KNOWN_AT_ONCE))
            id = arrived_ns >> 20 << 22
            ids = b"".join((id + one).to_bytes(8, "big") for one in range(KNOWN_AT_ONCE))
            videos = b"".join(self._video().bytes for _ in range(KNOWN_AT_ONCE))
            play_ids = self._chance.randbytes(16 * KNOWN_AT_ONCE) if self._way.play_id else b""
            self._count(Plays(1, SOURCE, ids, videos, stamps, 0, play_ids))


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--known", type=int, default=1_000_000, help="plays in the window before")
    arguments.add_argument("--id-bytes", type=int, default=36, help="of each play's id")
    options = arguments.parse_args()
    heads = ("plays a read", "play_id", "consumer, µs", "x", "counter, µs", "x", "both, x")
    rows: list[tuple[str, ...]] = []
    for plays_a_read in (1, 100, 1250):
        with folder() as path:
            subjects: list[Subject] = []
            for way in WAYS:
                own = path / f"{len(subjects)}"
                own.mkdir()
                subjects.append(Subject(way, own, plays_a_read, options.known, options.id_bytes))
            found: list[list[tuple[float, float]]] = [[] for _ in WAYS]
            for _ in range(options.rounds):
                for subject, times in zip(subjects, found, strict=True):
                    times.append(subject.round())
            rows += _rows(plays_a_read, found)
            for subject in subjects:
                subject.close()
    show(heads, rows)


def _rows(plays_a_read: int, found: list[list[tuple[float, float]]]) -> list[tuple[str, ...]]:
    medians = [tuple(statistics.median(part) for part in zip(*times, strict=True)) for times in found]
    base = medians[0]
    return [
        (
            f"{plays_a_read:,}",
            way.name,
            f"{consumer:.2f}",
            f"{consumer / base[0]:.2f}",
            f"{counter:.2f}",
            f"{counter / base[1]:.2f}",
            f"{(consumer + counter) / sum(base):.2f}",
        )
        for way, (consumer, counter) in zip(WAYS, medians, strict=True)
    ]


def _timed(work: Callable[[], list[Done]]) -> tuple[list[Done], float]:
    began_s = time.thread_time()
    done = work()
    return done, time.thread_time() - began_s


if __name__ == "__main__":
    main()
