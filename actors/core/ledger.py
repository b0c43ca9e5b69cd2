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
from operator import lt

from msgspec import Struct

from .accounts import PART_ROWS, Account, AccountColumns, Accounts, Part
from .columns import ID_BYTES, count, pack_numbers, unpack_numbers, unpack_videos
from .messages import Collected, Pending, Plays, Rejected
from .seen import SeenChunk, SeenIds

PENDING_VIDEOS_MAX = 4096  # videos a `Pending` message: some 130 KB, so that no mailbox is flooded


class Tallies(Struct, frozen=True):
    """What the ledger has counted since it began."""

    counted: int = 0
    redelivered: int = 0
    dead_lettered: int = 0


class Changes(Struct, frozen=True):
    """What one commit writes: accounts, seen ids, buckets of them to delete, the tallies.

    `part`: now and then a part of all accounts, with these changes in it.
    """

    accounts: AccountColumns
    seen: list[SeenChunk]
    expired: list[tuple[str, int]]
    tallies: Tallies
    part: Part | None = None


class _Announced:
    """What is to be said to be pending: columns. A video may stand in them twice; the earlier counts."""

    def __init__(self) -> None:
        self._videos: list[bytes] = []
        self._arrived_ns: list[int] = []
        self._ordinals: list[int] = []

    def add(self, video: bytes, arrived_ns: int, ordinal: int) -> None:
        """The oldest untold play of a video arrived then, and made that total."""
        self._videos.append(video)
        self._arrived_ns.append(arrived_ns)
        self._ordinals.append(ordinal)

    def messages(self) -> Iterator[Pending]:
        """All of it, for the dispatcher."""
        for start in range(0, len(self._videos), PENDING_VIDEOS_MAX):
            part = slice(start, start + PENDING_VIDEOS_MAX)
            yield Pending(
                b"".join(self._videos[part]),
                pack_numbers(self._arrived_ns[part]),
                pack_numbers(self._ordinals[part]),
            )


class Ledger:
    """The accounts of one shard's videos."""

    def __init__(
        self,
        seen: SeenIds,
        accounts: Accounts | None = None,
        tallies: Tallies = Tallies(),
        steps_below: int = 0,
    ):
        """`accounts`: the ledger's own from now on."""
        self._seen = seen
        self._accounts = Accounts() if accounts is None else accounts
        self._tallies = tallies
        self._steps_below = steps_below
        self._dirty: dict[int, bytes] = {}
        self._dirty_since_part = 0
        self._announced = _Announced()
        columns = self._accounts
        self._pending_count = sum(map(lt, columns.published, columns.totals))

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

        A stamp from the future (nsqd's clock is ahead) counts as now: a deadline must not move out. One of
        less than nothing counts as 1 ns: 0 stands for none.
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
                self._add(video, 1, max(stamp, 1))
        else:
            self._add_all(Counter(videos), _oldest(videos, arrived_ns))
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
            row = self._accounts.rows.get(video)
            if row is not None and self._accounts.published[row] < self._accounts.totals[row]:
                account = self._take(video, row)
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
            row = self._accounts.rows.get(video)
            if row is None or total <= self._accounts.published[row]:
                continue
            account = self._accounts.get(row)
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
            self._accounts.put(row, account)
            self._dirty[row] = video
            if account.pending:
                self._announced.add(video, _earliest(account.arrived_ns, account.later_ns), total + 1)

    def take_announcements(self) -> list[Pending]:
        """What became pending, or pending since earlier, since the last call."""
        announced, self._announced = self._announced, _Announced()
        return list(announced.messages())

    def recall(self) -> list[Pending]:
        """All that is pending."""
        found, accounts = _Announced(), self._accounts
        totals, published, arrived_ns = accounts.totals, accounts.published, accounts.arrived_ns
        for video, row in accounts.rows.items():
            if published[row] < totals[row]:
                later_ns = accounts.taken[row][1] if row in accounts.taken else 0
                found.add(video, _earliest(arrived_ns[row], later_ns), published[row] + 1)
        return list(found.messages())

    def take_changes(self, now_ms: int) -> Changes | None:
        """What changed since the last call and is to be committed, or None."""
        seen = self._seen.take_chunks()
        if not self._dirty and not seen:
            return None
        rows, videos = list(self._dirty), b"".join(self._dirty.values())
        self._dirty.clear()
        changed, part = self._accounts.columns(rows, videos), None
        # A part is written for as many changes as it has rows: twice the bytes at most, and no pause.
        self._dirty_since_part += len(rows)
        if self._dirty_since_part >= PART_ROWS:
            self._dirty_since_part -= PART_ROWS
            part = self._accounts.take_part()
        return Changes(changed, seen, self._seen.expire(now_ms), self._tallies, part)

    def _add_all(self, plays: dict[bytes, int], oldest_ns: dict[bytes, int]) -> None:
        """What `_add` does, for many videos: the two usual cases here, on the columns themselves."""
        accounts, announced, dirty = self._accounts, self._announced, self._dirty
        rows, totals, published, arrived_ns = (
            accounts.rows, accounts.totals, accounts.published, accounts.arrived_ns
        )
        became_pending = 0
        for video, plays_count in plays.items():
            row = rows.get(video)
            if row is None:
                row = accounts.open(video)
            total, stamp_ns = totals[row], oldest_ns[video]
            if published[row] == total:
                arrived_ns[row] = stamp_ns
                announced.add(video, stamp_ns, total + 1)
                became_pending += 1
            elif row in accounts.taken or published[row] > total or stamp_ns < arrived_ns[row]:
                self._add(video, plays_count, stamp_ns)
                continue
            totals[row] = total + plays_count
            dirty[row] = video
        self._pending_count += became_pending

    def _add(self, video: bytes, plays: int, oldest_ns: int) -> None:
        row = self._accounts.rows.get(video)
        if row is None:
            row = self._accounts.open(video)
        account = self._accounts.get(row)
        first = account.total + 1
        if account.total + plays <= account.published:
            pass  # a ledger from a backup: the client knows more than it, so there is nothing to tell
        elif not account.pending:
            self._pending_count += 1
            account.arrived_ns = oldest_ns
            self._announced.add(video, oldest_ns, max(first, account.published + 1))
        elif account.taken and not account.later_ns:
            account.later_ns = oldest_ns
            self._announced.add(video, oldest_ns, first)
        elif account.taken:
            if oldest_ns < account.later_ns:
                account.later_ns = oldest_ns
                self._announced.add(video, oldest_ns, account.taken + 1)
        elif oldest_ns < account.arrived_ns:
            account.arrived_ns = oldest_ns
            self._announced.add(video, oldest_ns, account.published + 1)
        if self._steps_below:
            _add_step(account, oldest_ns, self._steps_below)
        account.total += plays
        self._accounts.put(row, account)
        self._dirty[row] = video

    def _take(self, video: bytes, row: int) -> Account:
        account = self._accounts.get(row)
        before = (account.taken, account.arrived_ns, account.later_ns)
        step = account.published + 1
        steps_end = account.published + len(account.steps)
        # Steps may be missing where the setting was off for a while: then all are told at once.
        if step < self._steps_below and steps_end >= min(account.total, self._steps_below):
            account.taken = step
            account.arrived_ns, *rest = account.steps
            account.later_ns = min(rest, default=0)
            if rest:
                self._announced.add(video, account.later_ns, step + 1)
        else:
            account.arrived_ns = _earliest(account.arrived_ns, account.later_ns)
            account.taken, account.later_ns = account.total, 0
        if before != (account.taken, account.arrived_ns, account.later_ns):
            self._accounts.put(row, account)
            self._dirty[row] = video
        return account

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
    if stamps[0] < 1:
        stamps = [max(stamp, 1) for stamp in stamps]
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
