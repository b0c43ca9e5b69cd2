"""The truth, kept apart from the ledgers and by the simplest means: what was acknowledged, counted, told.

A set of message names and, for each video, its plays in the order in which they were committed: a
total is a count of them, and the oldest of some is their minimum.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from actors.core.columns import unpack_ids, unpack_numbers, unpack_videos
from actors.core.messages import Plays, Rejected

from .checks import Invariant, Violation
from .disks import LedgerDisk

Name = tuple[str, int]


class Produced(NamedTuple):
    """A message that an nsqd acknowledged; without a video when it is no play."""

    video: bytes
    at_ms: int
    age_ms: int


class FreshPlay(NamedTuple):
    """A message that no commit has counted yet."""

    arrived_ns: int
    video: bytes
    name: Name


class Counted(NamedTuple):
    """A play of a total: its stamp, when it arrived and when it was received."""

    arrived_ns: int
    produced: Produced
    received_ms: int


class Oracle:
    """All shards together."""

    def __init__(self) -> None:
        self.produced: dict[Name, Produced] = {}
        self.letters: set[Name] = set()
        self._committed: set[Name] = set()
        self._plays: dict[bytes, list[Counted]] = {}

    @property
    def totals(self) -> dict[bytes, int]:
        """What the totals have to be in the end."""
        totals: dict[bytes, int] = {}
        for one in self.produced.values():
            if one.video:
                totals[one.video] = totals.get(one.video, 0) + 1
        return totals

    @property
    def bad(self) -> int:
        """How many messages are no plays."""
        return sum(not one.video for one in self.produced.values())

    def fresh_plays(self, messages: Iterable[Any], wall_ms: int, known: set[Name]) -> list[FreshPlay]:
        """What a ledger has to count of these messages, without those known, in its order."""
        fresh: list[FreshPlay] = []
        names = set(known)
        for message in messages:
            new = []
            for play in _plays_of(message, wall_ms * 1_000_000):
                if play.name not in self._committed and play.name not in names:
                    names.add(play.name)
                    new.append(play)
            new.sort(key=lambda play: (play.arrived_ns, play.video))
            fresh += new
        return fresh

    def committed(self, fresh: list[FreshPlay], changed: list[bytes], disk: LedgerDisk, now_ms: int) -> None:
        """A ledger has committed these, and changed the accounts of those videos."""
        for play in fresh:
            self._committed.add(play.name)
            if play.video:
                counted = Counted(play.arrived_ns, self.produced[play.name], now_ms)
                self._plays.setdefault(play.video, []).append(counted)
        for video in [*changed, *(play.video for play in fresh if play.video)]:
            account, plays = disk.accounts.get(video), len(self._plays.get(video, ()))
            total = account.total if account else 0
            if total != plays:
                raise Violation(Invariant.EXACT_TOTALS, f"a total of {total} for {plays} distinct plays")

    def finished(self, source: str, ids: list[bytes]) -> None:
        """The consumer finishes these."""
        for text in ids:
            name = (source, int(text, 16))
            if not self.produced[name].video and name not in self.letters:
                raise Violation(Invariant.LETTER_BEFORE_FIN, f"{name} has none")
            if name not in self._committed:
                raise Violation(Invariant.FIN_AFTER_COMMIT, f"{name} is in no ledger")

    def told(self, video: bytes, known: int, total: int) -> list[Counted]:
        """The plays after the total that the client knows, up to this one."""
        plays = self._plays.get(video, [])
        if total > len(plays):
            raise Violation(Invariant.EXACT_TOTALS, f"told {total} of {len(plays)} that are committed")
        return plays[known:total]


def _plays_of(message: Any, wall_ns: int) -> list[FreshPlay]:
    if isinstance(message, Rejected):
        return [FreshPlay(0, b"", (message.source, number)) for number in unpack_ids(message.ids)]
    if not isinstance(message, Plays):
        return []
    # A stamp from the future counts as now.
    stamps_ns = [min(stamp_ns, wall_ns) for stamp_ns in unpack_numbers(message.arrived_ns)]
    names = [(message.source, number) for number in unpack_ids(message.ids)]
    return [FreshPlay(*facts) for facts in zip(stamps_ns, unpack_videos(message.videos), names, strict=True)]
