"""The videos of batches that fail while the client takes others: what fails may be one of these videos.

Pure. A client may close the connection, hang, or answer 500 each time that it gets a certain video. Such a
failure looks like one of the client. The other batches tell it apart. A video fails alone if its batch fails,
and the client has judged a batch without it that left after its last failure: has taken it, or refused what
is in it. If it fails alone `FAILURES_ALONE_MAX` times, and no batch of it is taken in between, then the cause
is taken to be in its batch.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import Struct

FAILURES_ALONE_MAX = 3  # so there are four failures in a row at least
VIDEOS_MAX = 20_000


class _Suspect(Struct):
    """A video of a batch that failed. `attempt`: its number, or that of a later batch of the video that was
    refused. `alone`: how often only such batches failed; -1 if the video has not failed yet, but was refused
    together with everything.
    """

    attempt: int
    alone: int


class Alone(NamedTuple):
    """How often in a row a video failed alone, and whether it did so this time."""

    times: int = 0
    is_new: bool = False

    @property
    def is_proof(self) -> bool:
        """Whether the cause is taken to be in the batch."""
        return self.is_new and self.times >= FAILURES_ALONE_MAX


class Suspects:
    """The videos of batches that failed, until the client takes them."""

    def __init__(self) -> None:
        self._videos: dict[bytes, _Suspect] = {}
        self._last_judged = 0  # the number of the last attempt that the client judged
        self.alone: dict[bytes, None] = {}  # those that failed alone so often that their batch is the cause

    def __len__(self) -> int:
        return len(self._videos)

    def __contains__(self, video: object) -> bool:
        return video in self._videos

    def __iter__(self) -> Iterator[bytes]:
        """The videos; the one that failed longest ago first."""
        return iter(list(self._videos))

    def failed(self, videos: Iterable[bytes], attempt: int, with_all: bool = False) -> Alone:
        """Note that an attempt with these videos failed. Returns how often in a row one of them failed alone.

        `attempt`: its number. `with_all`: the client refuses everything, which is no failure of theirs.
        """
        most, is_new = 0, False
        for video in videos:
            before = self._videos.pop(video, None)
            alone = -int(with_all) if before is None else before.alone
            if before is not None and self._last_judged > before.attempt and not with_all:
                alone, is_new = alone + 1, True
            self._videos[video] = _Suspect(attempt, alone)
            if alone >= FAILURES_ALONE_MAX:
                self.alone.pop(video, None)
                self.alone[video] = None
            most = max(most, alone)
        while len(self._videos) > VIDEOS_MAX:
            self._forget([next(iter(self._videos))])
        return Alone(most, is_new)

    def taken(self, videos: Iterable[bytes], attempt: int) -> None:
        """Note that the client took these videos. `attempt`: the number of the attempt."""
        self._last_judged = max(self._last_judged, attempt)
        self._forget(videos)

    def refused(self, videos: Iterable[bytes], attempt: int) -> None:
        """Note that the client refused what is in a batch of these videos: that tells nothing about them."""
        for video in videos:
            known = self._videos.get(video)
            if known is not None and known.attempt >= self._last_judged:
                known.attempt = attempt
        self._last_judged = max(self._last_judged, attempt)

    def _forget(self, videos: Iterable[bytes]) -> None:
        if self._videos:
            for video in videos:
                self._videos.pop(video, None)
                self.alone.pop(video, None)
