"""The truth, kept apart from the ledgers in the simplest way: what was acknowledged, counted, published.

It is a set of message names and, for each video, its plays in the order of their commits. A total is the
number of plays. The oldest of some plays is their minimum.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from actors.core.columns import unpack_ids, unpack_numbers, unpack_videos
from actors.core.messages import Plays, Rejected

from .checks import Invariant, Violation
from .disks import LedgerDisk

Name = tuple[str, int, int]  # nsqd, id, stamp
Identity = Name | tuple[bytes, int]  # what makes a play one: the message, or its video and the id in its body


class Produced(NamedTuple):
    """A message that an nsqd acknowledged. `video` is empty if the message is not a play."""

    video: bytes
    at_ms: int
    age_ms: int
    identity: Identity


class FreshPlay(NamedTuple):
    """A message that no commit has counted yet."""

    arrived_ns: int
    video: bytes
    name: Name


class Counted(NamedTuple):
    """A counted play: its stamp, its arrival, and when it was received."""

    arrived_ns: int
    produced: Produced
    received_ms: int


class Oracle:
    """The truth for all shards together."""

    def __init__(self) -> None:
        self.produced: dict[Name, Produced] = {}
        self.letters: set[Name] = set()
        self._committed: set[Identity] = set()
        self._plays: dict[bytes, list[Counted]] = {}

    @property
    def totals(self) -> dict[bytes, int]:
        """The right totals at the end."""
        totals: dict[bytes, int] = {}
        for video in {one.identity: one.video for one in self.produced.values() if one.video}.values():
            totals[video] = totals.get(video, 0) + 1
        return totals

    @property
    def bad(self) -> int:
        """The number of messages that are not plays."""
        return sum(not one.video for one in self.produced.values())

    def identities(self, plays: Iterable[FreshPlay]) -> set[Identity]:
        """What makes each of these plays one."""
        return {self.produced[play.name].identity for play in plays}

    def fresh_plays(self, messages: Iterable[Any], wall_ns: int, known: set[Identity]) -> list[FreshPlay]:
        """What a ledger has to count of these messages, without those known, in its order.

        It is the order of arrival for each source, one source after the other: that of the first plays
        first. An nsqd that has moved is two sources. Plays with ids of their own are as of one source. What
        is not a play has no place in that order.
        """
        by_source: dict[str, list[FreshPlay]] = {}
        letters: list[FreshPlay] = []
        for message in messages:
            for play in _plays_of(message, wall_ns):
                source = "" if self.produced[play.name].identity != play.name else message.source
                (by_source.setdefault(source, []) if play.video else letters).append(play)
        seen = set(known)
        found: list[FreshPlay] = []
        for plays in (letters, *by_source.values()):
            fresh = []
            for play in plays:
                identity = self.produced[play.name].identity
                if identity not in self._committed and identity not in seen:
                    seen.add(identity)
                    fresh.append(play)
            found += sorted(fresh, key=lambda play: (play.arrived_ns, play.video))
        return found

    def committed(self, fresh: list[FreshPlay], changed: list[bytes], disk: LedgerDisk, now_ms: int) -> None:
        """A ledger has committed these plays and changed the accounts of these videos."""
        self._committed |= self.identities(fresh)
        for play in fresh:
            if play.video:
                counted = Counted(play.arrived_ns, self.produced[play.name], now_ms)
                self._plays.setdefault(play.video, []).append(counted)
        for video in [*changed, *(play.video for play in fresh if play.video)]:
            account, plays = disk.accounts.get(video), len(self._plays.get(video, ()))
            total = account.total if account else 0
            if total != plays:
                raise Violation(Invariant.EXACT_TOTALS, f"a total of {total} for {plays} distinct plays")

    def finished(self, names: list[Name]) -> None:
        """The consumer finishes these."""
        for name in names:
            if not self.produced[name].video and name not in self.letters:
                raise Violation(Invariant.LETTER_BEFORE_FIN, f"{name} has no dead letter")
            if self.produced[name].identity not in self._committed:
                raise Violation(Invariant.FIN_AFTER_COMMIT, f"{name} is in no ledger")

    def told(self, video: bytes, known: int, total: int) -> list[Counted]:
        """The plays of the totals after `known`, up to `total`."""
        plays = self._plays.get(video, [])
        if total > len(plays):
            raise Violation(Invariant.EXACT_TOTALS, f"published {total}, but {len(plays)} are committed")
        return plays[known:total]


def name_of(source: str) -> str:
    """The name of the nsqd of a source, which it has at every address."""
    return source.partition(":")[0]


def _plays_of(message: Any, wall_ns: int) -> list[FreshPlay]:
    if not isinstance(message, Plays | Rejected):
        return []
    ids, stamps_ns = unpack_ids(message.ids), unpack_numbers(message.arrived_ns)
    nsqd = name_of(message.source)
    names = [(nsqd, *one) for one in zip(ids, stamps_ns, strict=True)]
    if isinstance(message, Rejected):
        return [FreshPlay(0, b"", name) for name in names]
    # A stamp from the future counts as now.
    arrived_ns = [min(stamp_ns, wall_ns) for stamp_ns in stamps_ns]
    return [FreshPlay(*facts) for facts in zip(arrived_ns, unpack_videos(message.videos), names, strict=True)]
