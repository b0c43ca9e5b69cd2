"""The log lines about a client: one for each reason why it takes no batch, one when it is back."""

import logging
import time
from collections.abc import Iterable
from typing import Protocol

from ..core import guids
from ..core.dispatcher.attempts import BACK_OFF_MS_MAX, About, Attempts, Circuit, Outcome
from ..core.dispatcher.outbox import Batch
from ..core.dispatcher.refused_videos import RefusedVideo
from ..core.recurring import EVERY_MS
from ..core.words import counted
from ..system.logs import of_batch
from .delivery import Delivery, Sink

log = logging.getLogger(__name__)

REASONS_TOLD_MAX = 10  # different reasons logged in one outage, or in a minute of short ones
VIDEOS_TOLD_MAX = 100  # refused videos, and videos taken at last, that are logged one by one


class Clocks(Protocol):
    """The clocks of the process."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, by this machine's clock, which may be set at any time."""

    def monotonic_ms(self) -> int:
        """Milliseconds since some moment, by a clock that is never set."""


class PublishLog:
    """What was logged about the present trouble of a client."""

    def __init__(self, clocks: Clocks, sink: Sink, attempts: Attempts, refused: int):
        """`sink`: to the client. `refused`: how many videos it refuses, as an earlier process stored them."""
        self._clocks = clocks
        self._name = sink.name
        self._settings = sink.settings
        self._attempts = attempts
        self._failing_since_ms: int | None = None
        self._reasons_told: set[str] = set()
        self._notice_told = self._everything_told = False
        self._began_ms = 0  # when the first of those reasons was logged
        self._said = False  # whether there was a line for the present outage
        self._unsaid = 0  # failures since then, in outages without a line
        self._last_failed = ""  # the key of the batch that failed last
        self._videos_told = self._taken_told = 0
        if refused:
            are = counted(refused, "video is", "videos are")
            log.warning("%s refused by %s, and tried again now and then", are, sink.name)

    def delivered(self, batch: Batch, delivery: Delivery, before: Circuit, refuses_everything: bool) -> None:
        """Log what is new in the outcome of an attempt.

        `before`: the circuit before it. `refuses_everything`: whether the client refuses any batch for what
        is in it.
        """
        if delivery.notice and not self._notice_told:
            self._notice_told = True
            of_batch(log, batch.key).warning("%s: %s", self._name, delivery.notice)
        if delivery.outcome is Outcome.ACCEPTED:
            self._is_back(batch.key)
            return
        self._last_failed = batch.key
        everything = delivery.about is About.EVERYTHING or refuses_everything
        if delivery.about not in (About.MOMENT, About.EVERYTHING) and not everything:
            return  # about some videos: see `refused`
        if self._failing_since_ms is None:
            self._failing_since_ms = self._clocks.monotonic_ms()
            self._begin_again(self._failing_since_ms)
        told_before = delivery.why in self._reasons_told
        if everything:
            self._refuses_everything(batch.key, delivery)
        elif told_before or len(self._reasons_told) >= REASONS_TOLD_MAX:
            self._unsaid += not self._said
        else:
            self._says()
            self._reasons_told.add(delivery.why)
            log.warning(
                "batch %s to %s failed: %s; trying again with back-off, nothing is lost",
                batch.key,
                self._name,
                delivery.why,
                extra={"batch": batch.key, **({"nsqd": delivery.nsqd} if delivery.nsqd else {})},
            )
        self._pause(batch.key, delivery, told_before)
        if before is Circuit.CLOSED and self._attempts.circuit is Circuit.OPEN and not everything:
            self._said = True
            of_batch(log, batch.key).warning(
                "the client failed %d times in a row: the circuit is open, and one batch now and then "
                "tries whether it is back",
                self._attempts.failures,
            )

    def refused(self, videos: Iterable[RefusedVideo]) -> None:
        """Log the videos that the client refuses, each once."""
        for one in videos:
            if one.attempts > 1 or one.unsure or one.again:
                continue
            self._videos_told += 1
            if self._videos_told > VIDEOS_TOLD_MAX:
                continue
            is_last = self._videos_told == VIDEOS_TOLD_MAX
            log.warning(
                "%s refuses video %s: %s; its plays are counted, and it is tried again now and then; all "
                "other videos go on%s",
                self._name,
                guids.text(one.video),
                one.answer,
                ". More refused videos are not logged: see status" if is_last else "",
                extra={"video": guids.text(one.video)},
            )

    def taken(self, videos: Iterable[bytes]) -> None:
        """Log the videos that the client refused before and has now."""
        for video in videos:
            self._taken_told += 1
            if self._taken_told > VIDEOS_TOLD_MAX:
                return
            named = guids.text(video)
            log.info("%s does not refuse video %s any more", self._name, named, extra={"video": named})

    def _is_back(self, key: str) -> None:
        """Say so, if there was a line for this outage. `key`: of the batch that was accepted."""
        if self._failing_since_ms is None and not (self._reasons_told or self._everything_told):
            return
        now_ms = self._clocks.monotonic_ms()
        if self._failing_since_ms is not None and self._said:
            seconds = (now_ms - self._failing_since_ms) / 1000
            of_batch(log, key).info("the client takes batches again, after %.1f s", seconds)
        self._failing_since_ms, self._said = None, False
        self._begin_again(now_ms)

    def _begin_again(self, now_ms: int) -> None:
        """Tell reasons again, a minute after the first: a client may fail every other time."""
        if now_ms - self._began_ms < EVERY_MS:
            return
        if self._unsaid:
            failures = counted(self._unsaid, "more failure")
            of_batch(log, self._last_failed).warning(
                "the last of %s since, with batches taken in between, to %s", failures, self._name
            )
        self._unsaid = 0
        self._everything_told = False
        self._reasons_told.clear()

    def _says(self) -> None:
        if not (self._reasons_told or self._everything_told):
            self._began_ms = self._clocks.monotonic_ms()
        self._said = True

    def _refuses_everything(self, key: str, delivery: Delivery) -> None:
        if not self._everything_told:
            self._says()
            self._everything_told = True
            of_batch(log, key, delivery.nsqd).error(
                "%s refuses everything: %s. Check %s, and what it expects; the circuit is open, one batch "
                "now and then tries whether it takes them, nothing is lost",
                self._name,
                delivery.why,
                self._settings,
            )

    def _pause(self, key: str, delivery: Delivery, told_before: bool) -> None:
        """Log a pause that the client asked for; each time if it is longer than `BACK_OFF_MS_MAX`."""
        attempts, asked_ms = self._attempts, delivery.retry_after_ms
        if not asked_ms or (told_before and asked_ms <= BACK_OFF_MS_MAX):
            return
        wait_ms = attempts.next_ms() - self._clocks.monotonic_ms()
        if wait_ms <= 0:
            return
        limit = ""
        if asked_ms > attempts.retry_after_max_ms:
            limit = f"; publish.retry_after_max_s = {attempts.retry_after_max_ms / 1000:g} is the most"
        next_s = self._clocks.wall_ns() / 1e9 + wait_ms / 1000
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(next_s))
        of_batch(log, key).warning(
            "the client asks for a pause of %.0f s (Retry-After)%s: the next attempt is at %s, in %.1f s",
            asked_ms / 1000,
            limit,
            at,
            wait_ms / 1000,
        )
