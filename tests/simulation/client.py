"""The simulated client: it honours keys, and raises at the moment when a promise is broken.

It answers a 5xx now and then, with or without having taken the batch. It may keep its first answer to a key,
a 5xx too. After a 5xx it may get the totals of the batch again under another key: see `heard`.
"""

from collections import Counter
from collections.abc import Callable

from actors.core.dispatcher.attempts import About, Outcome
from actors.core.dispatcher.numbered_keys import SERVER_ERRORS_MAX
from actors.core.dispatcher.outbox import Batch, Entry
from actors.core.dispatcher.republish import Republish
from actors.core.dispatcher.suspects import FAILURES_ALONE_MAX
from actors.core.triggers import Trigger

from .checks import Invariant, Violation
from .clock import START_MS, Clock
from .oracle import Counted as CountedPlay
from .oracle import Oracle
from .plan import Plan

BATCH_SIZE_MAX = 20


class Client:
    """Takes batches. Knows the total of each video, and the content of each key."""

    def __init__(self, plan: Plan, clock: Clock, oracle: Oracle, is_troubled: Callable[[int], bool]):
        """`is_troubled(since_ms)`: whether anything happened since then that excuses a late publish."""
        self.totals: dict[bytes, int] = {}
        self.plays_judged = 0
        self.realtime_ms = 0  # the longest from commit to client, of a play below the limit without trouble
        self._attempts = 0
        self._plan = plan
        self._clock = clock
        self._oracle = oracle
        self._is_troubled = is_troubled
        self._contents: dict[str, list[Entry]] = {}
        self._breaks: dict[str, bool] = {}  # by key: whether the answer is a 5xx
        self._sent: dict[str, int] = {}  # by key: the number of the last attempt
        # Attempts that the client took, or refused for what is in them, with their videos.
        self._judged: list[tuple[int, list[bytes]]] = []
        self._failed: dict[
            bytes, tuple[int, int]
        ] = {}  # by video: the attempt that failed, and how often alone
        self._awaited: set[str] = set()  # keys of attempts of which the dispatcher has no outcome yet
        self._unanswered: Counter[str] = Counter()  # by key: attempts of which the dispatcher has no answer
        self._row: Counter[str] = Counter()  # by key: the 5xx in a row that the dispatcher has heard
        self._said_no: set[str] = set()  # the keys that the dispatcher may give up
        self._before: dict[str, dict[bytes, int]] = {}  # by key: the totals before it
        # By key: the batches of which the dispatcher has heard a 2xx, and after that no refusal.
        self._accepted: dict[str, Batch] = {}
        self._asked: dict[int, set[str]] = {}  # by republish: the keys of those when it was asked for
        self._told_again: dict[int, dict[bytes, int]] = {}  # by republish: the totals that it told
        self.too_wide = (
            0,
            BATCH_SIZE_MAX + 1,
        )  # the dispatcher's incarnation that last got a 413, for how many
        self.width = 1 << 30  # the one that the dispatcher has stored
        self._searched: set[bytes] = set()  # videos of refused batches, until they are taken
        self._refused_until_ms: dict[bytes, int] = {}
        self._once_refused: set[bytes] = set()
        self._taken_ms: dict[bytes, int] = {}  # when a video was last taken
        self._asked_ms: dict[int, int] = {}  # by republish
        self._sure: dict[bytes, int] = {}  # the totals, without those that a 5xx took back

    def arrived(self, batch: Batch, takes: bool = True, breaks: bool = False) -> None:
        """Take a batch, which may be sent again under its key, and choose the answer.

        `breaks`: the answer is a 5xx, unless the client keeps its first answer. `takes`: whether it takes the
        batch all the same.
        """
        entries = batch.entries
        if not 1 <= len({entry.video for entry in entries}) == len(entries) <= BATCH_SIZE_MAX:
            raise Violation(Invariant.WIDTH, f"{len(entries)} entries")
        if self._contents.setdefault(batch.key, entries) != entries:
            known = self._contents[batch.key]
            raise Violation(Invariant.ONE_CONTENT_A_KEY, f"{batch.key}: {known}, then {entries}")
        if self._plan.keeps_answers and batch.key in self._breaks:
            return
        self._breaks[batch.key] = breaks
        if batch.trigger is Trigger.REPUBLISH:
            if takes and batch.key not in self._before:
                self._before[batch.key] = {}
                self._take_again(batch)
            return
        if takes and batch.key not in self._before:
            self._before[batch.key] = {one.video: self._sure.get(one.video, 0) for one in entries}
            for entry in entries:
                # After a 5xx the batch may go again with newer totals, and an earlier attempt come later: the
                # client keeps the greatest.
                if batch.key not in self._said_no or entry.plays > self.totals.get(entry.video, 0):
                    self._take_entry(entry)
                elif not breaks:  # it had this total from an attempt that it answered with a 5xx
                    self._sure[entry.video] = max(entry.plays, self._sure.get(entry.video, 0))
            if batch.key in self._said_no and batch.key not in self._awaited:
                # The dispatcher does not hear of this attempt any more: it may send these totals again.
                self._sure |= self._before[batch.key]
        elif takes and not breaks:
            for entry in entries:
                self._sure[entry.video] = max(entry.plays, self._sure.get(entry.video, 0))

    def has(self, batch: Batch) -> bool:
        """Whether the client has taken a batch with this key."""
        return batch.key in self._before

    def refuses(self, batch: Batch) -> None:
        """The dispatcher hears that the client refuses what is in a batch: that the client has none of it."""
        self._has_none(batch)
        self._searched |= set(batch.videos)
        self._once_refused |= set(batch.videos)

    def sent(self, batch: Batch) -> None:
        """The dispatcher sends a batch."""
        self._unanswered[batch.key] += 1
        self._awaited.add(batch.key)
        self._sent[batch.key] = self._attempts = self._attempts + 1

    def says_no(self, batch: Batch) -> bool:
        """Whether the answer to a batch is a 5xx."""
        return self._breaks.get(batch.key, False)

    def heard(self, batch: Batch, outcome: Outcome, server_error: bool, about: About) -> None:
        """The dispatcher hears the outcome of an attempt. `about`: of a refusal.

        A 5xx says that the client has nothing of the batch. If another attempt had no answer, only
        `SERVER_ERRORS_MAX` in a row say so.
        """
        attempt = self._sent[batch.key]
        self._awaited.discard(batch.key)
        self._unanswered[batch.key] -= outcome is not Outcome.UNKNOWN
        self._row[batch.key] = self._row[batch.key] + 1 if server_error else 0
        if outcome is Outcome.ACCEPTED:
            self._accepted[batch.key] = batch
            self._taken_ms |= dict.fromkeys(batch.videos, self._clock.now_ms)
            for video in self._searched.intersection(batch.videos):
                self._searched.discard(video)
                self._refused_until_ms[video] = self._clock.now_ms
        if server_error and (not self._unanswered[batch.key] or self._row[batch.key] >= SERVER_ERRORS_MAX):
            self._has_none(batch)
        if outcome is Outcome.ACCEPTED:
            for entry in batch.entries:
                self._failed.pop(entry.video, None)
                self.width = max(self.width, len(batch.entries))
                self._sure[entry.video] = max(entry.plays, self._sure.get(entry.video, 0))
        is_judged = outcome is Outcome.ACCEPTED or about in (About.CONTENT, About.WIDTH)
        if is_judged:
            self._judged.append((attempt, batch.videos))
        elif about is not About.CONFLICT and self._fails_alone(batch, attempt) >= FAILURES_ALONE_MAX:
            # The dispatcher may take the client for one that fails on this batch, and search it by halves.
            self.refuses(batch)

    def _has_none(self, batch: Batch) -> None:
        """The client has said that it has nothing of a batch. It may have taken it, and a killed dispatcher
        may have heard that: its successor does not know.
        """
        self._said_no.add(batch.key)
        self._sure |= self._before.get(batch.key, {})
        self._accepted.pop(batch.key, None)
        for keys in self._asked.values():
            keys.discard(batch.key)

    def _fails_alone(self, batch: Batch, attempt: int) -> int:
        """How often a video of a batch that failed did so while a later batch without it was judged."""
        for video in batch.videos:
            before, alone = self._failed.get(video, (self._attempts, 0))
            is_alone = any(judged > before and video not in videos for judged, videos in self._judged)
            self._failed[video] = attempt, alone + is_alone
        return max(self._failed[video][1] for video in batch.videos)

    def republish_stored(self, request: Republish) -> None:
        """The dispatcher has stored a request to publish all totals again, or how far it has got."""
        if request.place is None or not request.place.batches:
            # What the dispatcher knows to be accepted.
            self._asked.setdefault(request.number, set(self._accepted))
            self._asked_ms.setdefault(request.number, self._clock.now_ms)

    def check_republishes(self) -> None:
        """Check that the last request told everything."""
        for number in sorted(self._asked)[-1:]:
            told = self._told_again.get(number, {})
            entries = [one for key in self._asked[number] for one in self._accepted[key].entries]
            missing = {
                one.video
                for one in entries
                if told.get(one.video, 0) < one.plays and not self._was_told_later(one.video, number)
            }
            if missing:
                videos = {one.video for one in entries}
                found = f"{len(missing)} of {len(videos)} totals were not told again"
                raise Violation(Invariant.REPUBLISHED, found)

    def _was_told_later(self, video: bytes, number: int) -> bool:
        """Whether a video that the republish passed over, because it was refused, was told after that."""
        return video in self._once_refused and self._taken_ms.get(video, 0) >= self._asked_ms[number]

    def _take_again(self, batch: Batch) -> None:
        assert batch.place is not None, "it is a republish"
        for entry in batch.entries:
            if entry.arrived_ns or entry.plays > self.totals.get(entry.video, 0):
                raise Violation(Invariant.REPUBLISHED, f"a total of {entry.plays} is new")
            told = self._told_again.setdefault(batch.place.republish, {})
            told[entry.video] = max(entry.plays, told.get(entry.video, 0))

    def _take_entry(self, entry: Entry) -> None:
        highest, known = self.totals.get(entry.video, 0), self._sure.get(entry.video, 0)
        if entry.plays == known:
            raise Violation(Invariant.ONLY_CHANGED, f"a total of {known} again")
        if entry.plays < highest:
            raise Violation(Invariant.NEVER_FALLS, f"{entry.plays} after {highest}")
        if self._plan.every_play and known + 1 < self._plan.realtime_below and entry.plays != known + 1:
            raise Violation(Invariant.EVERY_STEP, f"{entry.plays} after {known}")
        plays = self._oracle.told(entry.video, known, entry.plays)
        oldest_ns = min(play.arrived_ns for play in plays)
        if entry.arrived_ns != oldest_ns:
            late_ms = (entry.arrived_ns - oldest_ns) / 1e6
            raise Violation(Invariant.OLDEST_ARRIVAL, f"its stamp is {late_ms} ms later than the oldest")
        untroubled = not self._is_troubled(min(play.produced.at_ms for play in plays))
        on_time = START_MS + self._clock.now_ms < oldest_ns // 1_000_000 + self._plan.deadline_ms
        if entry.overdue and untroubled and on_time:
            raise Violation(Invariant.OLDEST_ARRIVAL, "called overdue, but its deadline is not over")
        for ordinal, play in enumerate(plays, known + 1):
            if ordinal >= self._plan.realtime_below:
                since_ms = self._refused_until_ms.get(entry.video, -1)
                if entry.video not in self._searched and play.produced.at_ms > since_ms:
                    self._judge(play)
            elif untroubled:
                self.realtime_ms = max(self.realtime_ms, self._clock.now_ms - play.received_ms)
        self.totals[entry.video] = self._sure[entry.video] = entry.plays

    def _judge(self, play: CountedPlay) -> None:
        """Check the deadline of a hot play, if it is promised: see `checks.py`."""
        produced, deadline_ms = play.produced, self._plan.deadline_ms
        latest_ms = produced.at_ms - produced.age_ms + deadline_ms
        if play.received_ms > latest_ms - deadline_ms // 2 or self._is_troubled(produced.at_ms):
            return
        self.plays_judged += 1
        late_ms = self._clock.now_ms - latest_ms
        if late_ms > 0:
            raise Violation(Invariant.DEADLINE, f"published {late_ms} ms late")
