"""What the ledgers must have counted, kept apart from them and by the simplest means.

A set of message names and, for each video, the arrivals of its plays in the order in which they
were committed: a total is a count of them, and the oldest of some is their minimum.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from actors.core.columns import unpack_ids, unpack_numbers, unpack_videos
from actors.core.messages import Plays, Rejected


class FreshPlay(NamedTuple):
    """A message that no commit has counted yet; without a video when it was no play."""

    arrived_ns: int
    video: bytes
    name: tuple[str, int]


class PlayOracle:
    """The truth of all shards together."""

    def __init__(self) -> None:
        self._names: set[tuple[str, int]] = set()
        self._arrivals_ns: dict[bytes, list[int]] = {}

    def fresh_plays(self, messages: Iterable[Any]) -> list[FreshPlay]:
        """What of these messages a ledger has to count, in the order in which it does."""
        fresh: list[FreshPlay] = []
        names: set[tuple[str, int]] = set()
        for message in messages:
            new = []
            for play in _plays_of(message):
                if play.name not in self._names and play.name not in names:
                    names.add(play.name)
                    new.append(play)
            fresh += sorted(new, key=lambda play: (play.arrived_ns, play.video))
        return fresh

    def committed(self, fresh: Iterable[FreshPlay], totals: dict[bytes, int]) -> None:
        """A ledger has committed these, and its totals are so now."""
        for play in fresh:
            self._names.add(play.name)
            if play.video:
                self._arrivals_ns.setdefault(play.video, []).append(play.arrived_ns)
        for video, total in totals.items():
            counted = len(self._arrivals_ns[video])
            assert total == counted, f"a total of {total} for {counted} distinct plays"

    def oldest_untold_ns(self, video: bytes, known: int, total: int) -> int:
        """The oldest arrival of the plays after the total that the client knows, up to this one."""
        arrivals_ns = self._arrivals_ns.get(video, [])
        assert total <= len(arrivals_ns), "a total was told before it was committed"
        return min(arrivals_ns[known:total])


def _plays_of(message: Any) -> list[FreshPlay]:
    if isinstance(message, Rejected):
        names = [(message.source, number) for number in unpack_ids(message.ids)]
        return [FreshPlay(0, b"", name) for name in names]
    if not isinstance(message, Plays):
        return []
    names = [(message.source, number) for number in unpack_ids(message.ids)]
    columns = unpack_numbers(message.arrived_ns), unpack_videos(message.videos), names
    return [FreshPlay(*facts) for facts in zip(*columns, strict=True)]
