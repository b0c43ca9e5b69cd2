"""The videos that the client refuses, each alone, and when each is tried again.

Pure; callers pass the time in milliseconds on a clock that is never set. A video is tried ever more seldom:
after `PAUSE_MS_FIRST`, then after twice that, up to hourly. If it is played again, it is tried sooner, but at
most once a minute. Its plays are counted meanwhile, and pending.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from msgspec import Struct, structs

from ..stats import RefusedVideoStats

PAUSE_MS_FIRST = 10_000
PAUSE_MS_MAX = 3_600_000
PLAYED_MS_MIN = 60_000  # from one try to the next, if the video was played again
VIDEOS_MAX = 10_000  # one more, and the client is taken to refuse everything
SHOWN_MAX = 100


class RefusedVideo(Struct, frozen=True, array_like=True):
    """A refused video, as it is stored.

    `plays`: the total that was refused last. `answer`: the client's words. `attempts`: how often it was
    refused alone. `again`: the client had this total before, and a republish tells it again. `unsure`: it was
    refused while the client refused everything.
    """

    video: bytes
    plays: int
    answer: str
    attempts: int = 1
    again: bool = False
    unsure: bool = False


class _Try(Struct):
    """When a video is tried again. `offered_ms`: see `client_delays.py`; None if that is not known."""

    next_ms: int
    last_ms: int
    offered_ms: int | None


class RefusedVideos:
    """All refused videos, by GUID (16 bytes). `known`: each of them, to be read only."""

    def __init__(self, stored: Iterable[RefusedVideo] = (), videos_max: int = VIDEOS_MAX):
        """`stored`: what an earlier dispatcher knew. Each of them is tried within a minute."""
        self._videos_max = videos_max
        self.known = {one.video: one for one in stored}
        self._tries: dict[bytes, _Try] = {}
        self._heap: list[tuple[int, bytes]] = []  # when each is tried; what `_tries` does not say is over
        self._unplanned = set(self.known)  # those that have no `_Try` yet

    def __len__(self) -> int:
        return len(self.known)

    def __contains__(self, video: object) -> bool:
        return video in self.known

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.known)

    @property
    def is_full(self) -> bool:
        """Whether no more videos are kept."""
        return len(self.known) >= self._videos_max

    def get(self, video: bytes) -> RefusedVideo | None:
        """What is known of a video; None if it is not refused."""
        return self.known.get(video)

    def refuse(
        self, video: bytes, plays: int, answer: str, now_ms: int, offered_ms: int, again: bool, unsure: bool
    ) -> RefusedVideo:
        """Note that the client refused this video alone. Returns what to store."""
        before = self.known.get(video)
        attempts = 1 if before is None else before.attempts + 1
        one = self.known[video] = RefusedVideo(video, plays, answer, attempts, again, unsure)
        known = self._tries.get(video)
        if known is not None and known.offered_ms is not None:
            offered_ms = known.offered_ms
        self._plan(video, _Try(now_ms + _pause_ms(attempts), now_ms, offered_ms))
        return one

    def tell_again(self, video: bytes, plays: int) -> RefusedVideo:
        """Note that a republish has this total of a refused video. Returns what to store."""
        one = self.known[video] = structs.replace(
            self.known[video], again=True, plays=max(plays, self.known[video].plays)
        )
        return one

    def drop(self, videos: Iterable[bytes]) -> list[bytes]:
        """Forget these videos: the client has taken them. Returns those that were refused."""
        gone = [video for video in videos if self.known.pop(video, None) is not None]
        for video in gone:
            self._tries.pop(video, None)
            self._unplanned.discard(video)
        return gone

    def drop_first(self) -> tuple[bytes, ...]:
        """Forget the video that was refused first, if there is one too many. Returns it."""
        if len(self.known) <= self._videos_max:
            return ()
        return tuple(self.drop([next(iter(self.known))]))

    def played(self, video: bytes, ordinal: int) -> None:
        """Note that a video has a pending play. `ordinal`: the total that this play made."""
        one, known = self.known.get(video), self._tries.get(video)
        if one is None or known is None or ordinal <= one.plays:
            return
        if (next_ms := known.last_ms + PLAYED_MS_MIN) < known.next_ms:
            self._move(video, known, next_ms)

    def try_soon(self, now_ms: int, wanted: Callable[[RefusedVideo], bool]) -> None:
        """Try the videos for which `wanted` is true as soon as possible."""
        for video, one in self.known.items():
            if wanted(one):
                self._move(video, self._try(video, now_ms), now_ms)

    def delay(self, video: bytes, now_ms: int) -> None:
        """Note that a video could not be tried: it is tried a little later."""
        if video in self.known:
            self._move(video, self._try(video, now_ms), now_ms + PAUSE_MS_FIRST)

    def next_ms(self, video: bytes) -> int:
        """When a video is tried that was refused since the start."""
        return self._tries[video].next_ms

    def offered_ms(self, video: bytes) -> int | None:
        """When a client that takes everything would have had the video; None if that is not known."""
        known = self._tries.get(video)
        return None if known is None else known.offered_ms

    def soonest_ms(self, now_ms: int) -> int | None:
        """When the next video is tried; None if none is refused."""
        for video in list(self._unplanned):
            self._try(video, now_ms)
        while self._heap and not self._is_planned(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now_ms: int, askable: Callable[[bytes], bool]) -> RefusedVideo | None:
        """The video to try now, or None. `askable`: whether a video's counter answers."""
        passed_over, found = [], None
        while found is None and (soonest_ms := self.soonest_ms(now_ms)) is not None and soonest_ms <= now_ms:
            if askable(self._heap[0][1]):
                found = self.known[self._heap[0][1]]
            else:
                passed_over.append(heapq.heappop(self._heap))
        for one in passed_over:
            heapq.heappush(self._heap, one)
        return found

    def stats(self, now_ms: int) -> list[RefusedVideoStats]:
        """The first `SHOWN_MAX` of them, for people."""
        return [
            RefusedVideoStats(
                one.video,
                one.plays,
                one.answer,
                one.attempts,
                max(0, self._try(one.video, now_ms).next_ms - now_ms),
            )
            for one in islice(self.known.values(), SHOWN_MAX)
        ]

    def _try(self, video: bytes, now_ms: int) -> _Try:
        known = self._tries.get(video)
        if known is None:
            pause_ms = min(_pause_ms(self.known[video].attempts), PLAYED_MS_MIN)
            known = _Try(now_ms + pause_ms, now_ms, None)
            self._plan(video, known)
        return known

    def _plan(self, video: bytes, known: _Try) -> None:
        self._tries[video] = known
        self._unplanned.discard(video)
        heapq.heappush(self._heap, (known.next_ms, video))
        if len(self._heap) > 4 * len(self._tries) + 64:  # most of it is over
            self._heap = sorted((one.next_ms, video) for video, one in self._tries.items())

    def _move(self, video: bytes, known: _Try, next_ms: int) -> None:
        known.next_ms = next_ms
        self._plan(video, known)

    def _is_planned(self, next_ms: int, video: bytes) -> bool:
        known = self._tries.get(video)
        return known is not None and known.next_ms == next_ms


def _pause_ms(attempts: int) -> int:
    return min(PAUSE_MS_MAX, PAUSE_MS_FIRST << min(attempts - 1, 16))
