"""One shard's truth: what was counted, what of it the client knows, which messages were seen.

Pure: it changes itself in memory and says what changed; the store commits that, and only then may
anybody be told (`counting.py` holds that order). Owns the totals; nobody else keeps one. Refuses to
know when something is published.

A video's plays are told to the client up to `published`. Those after it are pending, in two parts,
because a batch that leaves takes the total of that moment and plays go on arriving meanwhile:

    ──── published ────┬──── taken ────┬──── total
        the client     │  in a batch   │  not in it
        knows these    │  on its way   │
                       └ arrived_ns    └ later_ns      arrival of the oldest play of each part

What a batch takes is committed before the batch hears of it: else a counter that starts again would
tell the plays after it with the arrival of those in it.

With `steps_below` > 0 (every total below it is to be published on its own) a batch takes only the
next play, and the arrivals of the waiting ones are kept in `steps`: one each for the totals below
`steps_below`, and in the last place the oldest of all from `steps_below` on.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from .columns import ID_BYTES, count, pack_numbers, unpack_numbers, unpack_videos
from .messages import Collected, Pending, Plays, Rejected
from .seen import SeenChunk, SeenIds

PENDING_VIDEOS_MAX = 4096  # videos a `Pending` message: some 130 KB, so that no mailbox is flooded


class Account(Struct):
    """One video's line in the ledger. Times are nanoseconds on the wall clock, 0 for none."""

    total: int = 0
    published: int = 0
    taken: int = 0
    arrived_ns: int = 0
    later_ns: int = 0
    steps: tuple[int, ...] = ()

    @property
    def pending(self) -> bool:
        """Whether the client has not been told of all plays."""
        return self.total > self.published


class Tallies(Struct, frozen=True):
    """What the ledger has counted since it began."""

    counted: int = 0
    redelivered: int = 0
    dead_lettered: int = 0


class Changes(Struct, frozen=True):
    """What one commit writes: accounts, seen ids, buckets of them to delete, the tallies."""

    accounts: list[tuple[bytes, Account]]
    seen: list[SeenChunk]
    expired: list[tuple[str, int]]
    tallies: Tallies


class Ledger:
    """The accounts of one shard's videos."""

    def __init__(
        self,
        seen: SeenIds,
        accounts: Iterable[tuple[bytes, Account]] = (),
        tallies: Tallies = Tallies(),
        steps_below: int = 0,
    ):
        self._seen = seen
        self._accounts = dict(accounts)
        self._tallies = tallies
        self._steps_below = steps_below
        self._dirty: set[bytes] = set()
        self._announced: dict[bytes, tuple[int, int]] = {}
        self._pending_count = sum(account.pending for account in self._accounts.values())

    @property
    def tallies(self) -> Tallies:
        """Plays, redeliveries and dead letters counted so far."""
        return self._tallies

    @property
    def pending_count(self) -> int:
        """How many videos have plays that the client was not told of."""
        return self._pending_count

    def __len__(self) -> int:
        return len(self._accounts)

    def apply(self, plays: Plays, now_ms: int) -> None:
        """Count the plays of a batch that were not counted before. Raises `ValueError` when its
        columns do not match, with nothing counted.

        A stamp from the future (nsqd's clock is ahead) counts as now: a deadline must not move out.
        """
        videos = unpack_videos(plays.videos)
        arrived_ns: Sequence[int] = unpack_numbers(plays.arrived_ns)
        ids_count = count(plays.ids, ID_BYTES)
        if not ids_count == len(videos) == len(arrived_ns):
            raise ValueError(f"{ids_count} ids, {len(videos)} videos, {len(arrived_ns)} arrivals")
        places = self._seen.admit(plays.source, plays.ids, now_ms)
        if places is not None:
            self._count(redelivered=len(videos) - len(places))
            videos = [videos[place] for place in places]
            arrived_ns = [arrived_ns[place] for place in places]
        if not videos:
            return
        now_ns = now_ms * 1_000_000
        if max(arrived_ns) > now_ns:
            arrived_ns = [min(stamp, now_ns) for stamp in arrived_ns]
        if self._steps_below:
            for stamp, video in sorted(zip(arrived_ns, videos, strict=True)):
                self._add(video, 1, stamp)
        else:
            oldest = _oldest(videos, arrived_ns)
            for video, plays_count in Counter(videos).items():
                self._add(video, plays_count, oldest[video])
        self._count(counted=len(videos))

    def reject(self, rejected: Rejected, now_ms: int) -> None:
        """Count the dead letters that were not counted before."""
        places = self._seen.admit(rejected.source, rejected.ids, now_ms)
        messages = count(rejected.ids, ID_BYTES)
        fresh = messages if places is None else len(places)
        self._count(dead_lettered=fresh, redelivered=messages - fresh)

    def collect(self, number: int, videos: Iterable[bytes]) -> Collected:
        """Take the totals of these videos into a batch that leaves now."""
        found: list[tuple[bytes, int, int]] = []
        for video in videos:
            account = self._accounts.get(video)
            if account is not None and account.pending:
                self._take(video, account)
                found.append((video, account.taken, account.arrived_ns))
        return Collected(
            number,
            b"".join(video for video, _, _ in found),
            pack_numbers(total for _, total, _ in found),
            pack_numbers(arrived for _, _, arrived in found),
        )

    def publish(self, videos: Iterable[bytes], totals: Iterable[int]) -> None:
        """Note that the client has confirmed these totals. What it knew already changes nothing."""
        for video, total in zip(videos, totals, strict=True):
            account = self._accounts.get(video)
            if account is None or total <= account.published:
                continue
            self._pending_count -= account.pending
            steps_told = total - account.published
            account.published = total
            account.steps = account.steps[steps_told:]
            if not account.pending:
                account.taken = account.arrived_ns = account.later_ns = 0
            elif account.taken <= total:
                account.arrived_ns = account.later_ns or account.arrived_ns
                account.taken = account.later_ns = 0
            # else: a batch of an earlier life of the dispatcher, which ended inside the taken part.
            # Its oldest untold play is not known, so the older arrival stays: early, never late.
            self._pending_count += account.pending
            self._dirty.add(video)
            if account.pending:
                self._announce(video, _earliest(account.arrived_ns, account.later_ns), total + 1)

    def take_announcements(self) -> list[Pending]:
        """What became pending, or pending since earlier, since the last call."""
        announced, self._announced = self._announced, {}
        return list(_pending_messages((video, *what) for video, what in announced.items()))

    def recall(self) -> list[Pending]:
        """All that is pending."""
        return list(
            _pending_messages(
                (video, _earliest(account.arrived_ns, account.later_ns), account.published + 1)
                for video, account in self._accounts.items()
                if account.pending
            )
        )

    def take_changes(self, now_ms: int) -> Changes | None:
        """What changed since the last call and is to be committed, or None."""
        seen = self._seen.take_chunks()
        if not self._dirty and not seen:
            return None
        accounts = [(video, self._accounts[video]) for video in self._dirty]
        self._dirty.clear()
        return Changes(accounts, seen, self._seen.expire(now_ms), self._tallies)

    def _add(self, video: bytes, plays: int, oldest_ns: int) -> None:
        account = self._accounts.get(video)
        if account is None:
            account = self._accounts[video] = Account()
        first = account.total + 1
        if account.total + plays <= account.published:
            pass  # a ledger from a backup: the client knows more than it, so there is nothing to tell
        elif not account.pending:
            self._pending_count += 1
            account.arrived_ns = oldest_ns
            self._announce(video, oldest_ns, max(first, account.published + 1))
        elif account.taken and not account.later_ns:
            account.later_ns = oldest_ns
            self._announce(video, oldest_ns, first)
        elif account.taken:
            if oldest_ns < account.later_ns:
                account.later_ns = oldest_ns
                self._announce(video, oldest_ns, account.taken + 1)
        elif oldest_ns < account.arrived_ns:
            account.arrived_ns = oldest_ns
            self._announce(video, oldest_ns, account.published + 1)
        if self._steps_below:
            _add_step(account, oldest_ns, self._steps_below)
        account.total += plays
        self._dirty.add(video)

    def _take(self, video: bytes, account: Account) -> None:
        before = (account.taken, account.arrived_ns, account.later_ns)
        step = account.published + 1
        steps_end = account.published + len(account.steps)
        # Steps may be missing where the setting was off for a while: then all are told at once.
        if step < self._steps_below and steps_end >= min(account.total, self._steps_below):
            account.taken = step
            account.arrived_ns, *rest = account.steps
            account.later_ns = min(rest, default=0)
            if rest:
                self._announce(video, account.later_ns, step + 1)
        else:
            account.arrived_ns = _earliest(account.arrived_ns, account.later_ns)
            account.taken, account.later_ns = account.total, 0
        if before != (account.taken, account.arrived_ns, account.later_ns):
            self._dirty.add(video)

    def _announce(self, video: bytes, arrived_ns: int, ordinal: int) -> None:
        before = self._announced.get(video)
        if before is not None:
            arrived_ns, ordinal = min(before[0], arrived_ns), min(before[1], ordinal)
        self._announced[video] = (arrived_ns, ordinal)

    def _count(self, counted: int = 0, redelivered: int = 0, dead_lettered: int = 0) -> None:
        before = self._tallies
        self._tallies = Tallies(
            before.counted + counted,
            before.redelivered + redelivered,
            before.dead_lettered + dead_lettered,
        )


def _oldest(videos: list[bytes], arrived_ns: Sequence[int]) -> dict[bytes, int]:
    """The oldest arrival of each video. The last of equal keys wins in a dict: so oldest last."""
    stamps = list(arrived_ns)
    if stamps != sorted(stamps):  # seldom: nsqd gives messages about as they arrived
        pairs = sorted(zip(stamps, videos, strict=True))
        stamps, videos = [stamp for stamp, _ in pairs], [video for _, video in pairs]
    return dict(zip(reversed(videos), reversed(stamps), strict=True))


def _add_step(account: Account, arrived_ns: int, steps_below: int) -> None:
    """Keep the arrival of the play that is about to make the next total, where that is a step."""
    steps_end = account.published + len(account.steps)
    if steps_end == account.total and account.total < steps_below:
        account.steps = (*account.steps, arrived_ns)
    elif account.steps and steps_end == steps_below:
        account.steps = (*account.steps[:-1], min(account.steps[-1], arrived_ns))


def _earliest(arrived_ns: int, later_ns: int) -> int:
    return min(arrived_ns, later_ns) if arrived_ns and later_ns else arrived_ns or later_ns


def _pending_messages(entries: Iterable[tuple[bytes, int, int]]) -> Iterator[Pending]:
    waiting = list(entries)
    for start in range(0, len(waiting), PENDING_VIDEOS_MAX):
        part = waiting[start : start + PENDING_VIDEOS_MAX]
        yield Pending(
            b"".join(video for video, _, _ in part),
            pack_numbers(arrived for _, arrived, _ in part),
            pack_numbers(ordinal for _, _, ordinal in part),
        )
