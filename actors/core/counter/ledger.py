"""One shard's truth: which plays were counted, which of them are published, which messages were seen.

Pure: the ledger changes in memory and returns its changes; the store commits them, and only then may another
actor hear of them (`rules.py` keeps that order). The ledger owns the totals; no other rules keep them. It
does not decide when a total is published.

The plays of a video up to `published` are known to the client. The later ones are pending, in two parts. A
batch takes the total at the moment when it leaves, and more plays arrive afterwards:

    ──── published ────┬──── taken ────┬──── total
        the client     │  in a batch   │  not in it
        knows these    │  on its way   │
                       └ arrived_ns    └ later_ns      arrival of the oldest play of each part

`taken` is committed before the dispatcher gets the batch's totals. Otherwise a restarted counter would
publish the plays after the batch with the arrival of the plays in the batch.

With `steps_below` > 0 every total below `steps_below` is published on its own. A batch then takes only the
next play. `steps` keeps the arrivals of the pending plays, one for each total below `steps_below`. Its last
value is the oldest arrival of all plays from `steps_below` on.
"""

from collections.abc import Iterable

import numpy as np
from msgspec import structs

from ..columns import (
    ID_BYTES,
    NUMBER_BYTES,
    VIDEO_BYTES,
    Bools,
    Int64s,
    count,
    distinct,
    numbers_of,
    pack_numbers,
    unpack_numbers,
    unpack_videos,
    video_words,
)
from ..messages import Collected, CollectedPublished, CollectPublished, Pending, Plays, Rejected
from ..table import EMPTY
from .accounts import ARRIVED_NS, CELLS, PART_ROWS, PUBLISHED, TOTAL, Account, Accounts
from .announcements import Announcements
from .arrivals import add_step, by_row, earliest
from .changes import LedgerChanges, Tallies
from .handout import hand_out
from .recall import NEVER_NS, RECALL_VIDEOS, pending_rows, recall
from .seen_ids import SeenIds
from .window_clock import WindowClock

FEW = 16  # up to this many plays are added one by one: CPU caches have no numpy code for a lone play
TAKEN_MAX = 256  # videos that are put into their next batch before it leaves
# A part is due after this many changes, or after this many commits (plays that come alone). So the journal
# has at most one row for 16 videos, and a change per video. A start takes time for both: docs/decisions/0011.
CHANGES_A_PART = PART_ROWS
COMMITS_A_PART = 256


class Ledger:
    """The accounts of one shard's videos."""

    def __init__(
        self,
        seen: SeenIds,
        accounts: Accounts | None = None,
        tallies: Tallies = Tallies(),
        steps_below: int = 0,
        now_ms: int = 0,
    ):
        """Takes over `accounts`: no other code may change them from now on. `now_ms` is monotonic."""
        self._seen = seen
        self._accounts = Accounts() if accounts is None else accounts
        self.tallies = tallies  # of all plays, redeliveries and dead letters so far; others only read it
        self._stores = tallies.stores
        self.clock = WindowClock(tallies.ran_ms, now_ms)
        self._steps_below = steps_below
        self._dirty: list[Int64s] = []
        self._dirty_few: set[int] = set()
        self._dirty_since_part = CHANGES_A_PART  # so that even a counter that never lives long writes parts
        self._commits_since_part = 0
        self._again = tallies.redelivered, tallies.duplicates  # as the store has them
        self.announced = Announcements()  # by `take_announcements`; others only read it
        self._became_pending: dict[int, None] = {}  # rows that are not announced yet, in order
        self._pending_count = len(pending_rows(self._accounts.cells))

    @property
    def pending_count(self) -> int:
        """How many videos have unpublished plays."""
        return self._pending_count

    def __len__(self) -> int:
        return len(self._accounts)

    def apply(self, plays: Plays, now_ms: int, wall_ns: int) -> None:
        """Count the plays of a batch that were not counted before. `now_ms` is monotonic.

        A stamp in the future (nsqd's clock is ahead) is clamped to now, because a deadline must not move out.
        A negative stamp is clamped to 1 ns, because 0 means "no arrival". Raises `ValueError`, leaving the
        state unchanged, if the columns differ in length.
        """
        plays_count = len(plays.ids) // ID_BYTES
        columns = len(plays.videos), len(plays.arrived_ns)
        if columns != (VIDEO_BYTES * plays_count, NUMBER_BYTES * plays_count):
            raise ValueError(f"{plays_count} ids, {columns[0]} bytes of videos, {columns[1]} of arrivals")
        ran_ms = self.clock.ran_ms(now_ms)
        if plays.play_ids:
            admitted = self._seen.plays.admit(plays.play_ids, plays.ids, plays.arrived_ns, ran_ms)
        else:
            admitted = self._seen.admit(plays.source, plays.ids, plays.arrived_ns, ran_ms)
        known, places = 0, admitted.places
        if places is not None:
            known, plays_count = plays_count - len(places), len(places)
        if plays_count:
            self.announced.received(plays.received_ms)
        if plays_count and (self._steps_below or plays_count <= FEW):
            self._add_each(plays, places, wall_ns)
        elif plays_count:
            videos, arrived_ns = video_words(plays.videos), numbers_of(plays.arrived_ns)
            if places is not None:
                videos, arrived_ns = videos[places], arrived_ns[places]
            arrived_ns = np.maximum(np.minimum(arrived_ns, wall_ns), 1)
            self._add_all(self._accounts.rows_of(videos, open_new=True), arrived_ns)
        duplicates = admitted.duplicates
        self.tallies = self.tallies.plus(plays_count, known - duplicates, 0, admitted.reused, duplicates)

    def reject(self, rejected: Rejected, now_ms: int) -> None:
        """Count dead letters that were not counted before. `now_ms` is monotonic."""
        ran_ms = self.clock.ran_ms(now_ms)
        admitted = self._seen.admit(rejected.source, rejected.ids, rejected.arrived_ns, ran_ms)
        messages = count(rejected.ids, ID_BYTES)
        fresh = messages if admitted.places is None else len(admitted.places)
        self.tallies = self.tallies.plus(0, messages - fresh, fresh, admitted.reused)

    def collect(self, number: int, videos: Iterable[bytes]) -> Collected:
        """Put the totals of these videos into the batch with this `number`, which leaves now."""
        found = [
            (video, account.taken, account.arrived_ns)
            for video in videos
            if (row := self._accounts.row(video)) != EMPTY
            and (account := self._take(row, self._accounts.get(row))).pending
        ]
        return Collected(
            number,
            b"".join(video for video, _, _ in found),
            pack_numbers(total for _, total, _ in found),
            pack_numbers(arrived for _, _, arrived in found),
        )

    def heard_of(self, stores: int) -> None:
        """Keep how many stores the dispatcher has made. The next commit writes it."""
        self._stores = max(stores, self._stores)

    def hand_out(self, asked: CollectPublished) -> CollectedPublished:
        """Totals that the client had, to be published again."""
        return hand_out(self._accounts, asked)

    def publish(self, videos: Iterable[bytes], totals: Iterable[int]) -> None:
        """Record totals that the client confirmed. A total that is already published changes nothing."""
        for video, total in zip(videos, totals, strict=True):
            row = self._accounts.row(video)
            account = self._accounts.get(row) if row != EMPTY else None
            if account is None or total <= account.published:
                continue
            self._pending_count -= account.total > account.published
            account.steps = account.steps[total - account.published :]
            account.published = total
            is_pending = total < account.total
            if not is_pending:
                account.taken = account.arrived_ns = account.later_ns = 0
            elif account.taken <= total:
                account.arrived_ns = account.later_ns or account.arrived_ns
                account.taken = account.later_ns = 0
            # else: the total is inside the taken part, because an earlier incarnation of the dispatcher sent
            # it. The oldest unpublished play is not known, so the older arrival stays: the video is published
            # early, never late.
            self._accounts.put(row, account)
            self._dirty_few.add(row)
            if is_pending:
                self._pending_count += 1
                self._announce(row, earliest(account.arrived_ns, account.later_ns), total + 1)

    def take_realtime(self, below: int) -> None:
        """Announce the videos that became pending one by one since the last call.

        Those with a total less than `below` are put into their next batch now, as `collect` would do it, and
        announced with it. This ends at `TAKEN_MAX`: the dispatcher sends too few batches then.
        """
        if not self._became_pending:
            return
        rows, self._became_pending = self._became_pending, {}
        for row in rows:
            account, total = self._accounts.get(row), 0
            if account.total < below and not self._steps_below and len(self._accounts.taken) < TAKEN_MAX:
                total, account = account.total, self._take(row, account)
            if account.total > account.published:
                arrived_ns = earliest(account.arrived_ns, account.later_ns)
                self.announced.add_one(self._accounts.video(row), arrived_ns, account.published + 1, total)

    def take_announcements(self, commits: int = 0) -> list[Pending]:
        """The videos that became pending since the last call, or got an earlier pending play.

        `commits`: how many the ledger has.
        """
        self.take_realtime(below=0)
        announced, self.announced = self.announced, Announcements()
        return announced.messages(commits)

    def recall(
        self, row: int = 0, videos_max: int = RECALL_VIDEOS, wall_ns: int = NEVER_NS, set_back_ns: int = 0
    ) -> tuple[list[Pending], int]:
        """The next pending videos from `row` on, and where to go on: see `recall.py`."""
        return recall(self._accounts, row, videos_max, wall_ns, set_back_ns)

    def take_changes(self, now_ms: int, ends: bool = False) -> LedgerChanges | None:
        """The changes since the last call, to be committed, or None.

        What only came again changes nothing: its numbers go with the next changes, or alone if the counter
        `ends`.
        """
        seen = self._seen.take_chunks()
        ran_ms = self.clock.ran_ms(now_ms)
        self.tallies = structs.replace(self.tallies, ran_ms=ran_ms, stores=self._stores)
        again = self.tallies.redelivered, self.tallies.duplicates
        if not (self._dirty or self._dirty_few or seen or (ends and again != self._again)):
            return None
        self._again = again
        dirty, few, self._dirty, self._dirty_few = self._dirty, self._dirty_few, [], set()
        if dirty:
            rows = [*dirty, np.array(list(few), np.int64)] if few else dirty
            changed = self._accounts.columns(rows[0] if len(rows) == 1 else distinct(rows))
        else:
            changed = self._accounts.columns_of_few(few)
        part = None
        self._accounts.stale.changed(unpack_numbers(changed.rows), 0)
        self._dirty_since_part += len(changed.rows) // NUMBER_BYTES
        self._commits_since_part += 1
        if self._dirty_since_part >= CHANGES_A_PART or self._commits_since_part >= COMMITS_A_PART:
            self._dirty_since_part = max(0, self._dirty_since_part - CHANGES_A_PART)
            self._commits_since_part = 0
            part = self._accounts.take_part()
        expired = self._seen.expire(ran_ms)
        return LedgerChanges(changed, seen, expired, self.tallies, part)

    def _add_all(self, rows: Int64s, arrived_ns: Int64s) -> None:
        """Do for many plays what `_add` does for one. The two usual cases are done a column at a time."""
        rows, plays, oldest_ns = by_row(rows, arrived_ns)
        accounts = self._accounts
        cells = accounts.cells.take(rows, axis=0)
        totals, published = cells[:, TOTAL].copy(), cells[:, PUBLISHED].copy()
        all_published = published == totals
        unusual = ~all_published & ((published > totals) | (oldest_ns < cells[:, ARRIVED_NS]))
        if accounts.taken:
            unusual |= ~all_published & self._next_is_due(rows, oldest_ns)
        # as one long column: numpy needs a third of the time for it
        numbers, at = accounts.cells.reshape(-1), rows * CELLS
        if all_published.any():
            newly = all_published.nonzero()[0]
            numbers[at.take(newly) + ARRIVED_NS] = arrivals = oldest_ns.take(newly)
            videos = cells[:, :TOTAL].take(newly, axis=0) if len(newly) < len(cells) else cells[:, :TOTAL]
            self.announced.add(videos, arrivals, totals.take(newly) + 1)
            self._pending_count += len(newly)
        places = unusual.nonzero()[0].tolist()
        plays_of_usual = np.where(unusual, 0, plays) if places else plays
        numbers[at + TOTAL] = totals + plays_of_usual
        self._dirty.append(rows)
        del numbers  # rows may be added again
        for place in places:
            self._add(int(rows[place]), int(plays[place]), int(oldest_ns[place]))

    def _next_is_due(self, rows: Int64s, oldest_ns: Int64s) -> Bools:
        """Which rows are in a batch on its way, and get the oldest of their plays that are not in it."""
        found = np.zeros(len(rows), np.bool_)
        for place, later_ns in self._accounts.taken_in(rows):
            found[place] = not later_ns or oldest_ns[place] < later_ns
        return found

    def _add_each(self, plays: Plays, places: list[int] | None, now_ns: int) -> None:
        """Do what `_add_all` does, one play at a time, in the order of arrival."""
        each = list(zip(unpack_numbers(plays.arrived_ns), unpack_videos(plays.videos), strict=True))
        if places is not None:
            each = [each[place] for place in places]
        each.sort()
        for stamp_ns, video in each:
            self._add(self._accounts.open_row(video), 1, max(1, min(stamp_ns, now_ns)))

    def _add(self, row: int, plays: int, oldest_ns: int) -> None:
        account = self._accounts.get(row)
        first = account.total + 1
        if account.total + plays <= account.published:
            pass  # this ledger is from a backup: the client knows a larger total, so nothing is pending
        elif account.total <= account.published:
            self._pending_count += 1
            account.arrived_ns = oldest_ns
            self._became_pending[row] = None
        elif account.taken and not account.later_ns:
            account.later_ns = oldest_ns
            self._announce(row, oldest_ns, first)
        elif account.taken:
            if oldest_ns < account.later_ns:
                account.later_ns = oldest_ns
                self._announce(row, oldest_ns, account.taken + 1)
        elif oldest_ns < account.arrived_ns:
            account.arrived_ns = oldest_ns
            self._became_pending[row] = None
        if self._steps_below:
            add_step(account, oldest_ns, self._steps_below)
        account.total += plays
        self._accounts.put(row, account)
        self._dirty_few.add(row)

    def _take(self, row: int, account: Account) -> Account:
        if account.total <= account.published:
            return account
        before = (account.taken, account.arrived_ns, account.later_ns)
        step = account.published + 1
        steps_end = account.published + len(account.steps)
        # Steps are missing if the setting was off for a while: then all plays are published at once.
        if step < self._steps_below and steps_end >= min(account.total, self._steps_below):
            account.taken = step
            account.arrived_ns, *rest = account.steps
            account.later_ns = min(rest, default=0)
            if rest:
                self._announce(row, account.later_ns, step + 1)
        else:
            account.arrived_ns = earliest(account.arrived_ns, account.later_ns)
            account.taken, account.later_ns = account.total, 0
        if before != (account.taken, account.arrived_ns, account.later_ns):
            self._accounts.put(row, account)
            self._dirty_few.add(row)
        return account

    def _announce(self, row: int, arrived_ns: int, ordinal: int) -> None:
        self.announced.add_one(self._accounts.video(row), arrived_ns, ordinal)
