"""The reference client as its HTTP handlers see it: the order in which a publish is taken.

Promises that a publish is answered with 2xx only after it is committed, and that a publish which could
not be committed leaves nothing in memory. Refuses to know what a promise is
(`actors/core/client/promises.py`).
"""

import logging
import time
from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from ..core.client.audit import Audit, Receipt, Taken
from ..core.client.promises import Publish
from ..core.recurring import Recurring
from ..system.exits import StoreFailure
from ..system.logs import WriteOutage
from .broken_log import BrokenLog
from .events import Streams
from .listing import Listing
from .signed import Signed
from .store import ClientStore
from .together import Together

log = logging.getLogger(__name__)


class Reference:
    """Takes publishes and audits them.

    `signed`: how publishes must be signed. `streams`: the streams of the page. `listing`: all videos.
    """

    def __init__(self, store: ClientStore, audit: Audit, signed: Signed, record: BinaryIO | None) -> None:
        """`audit`: what `store` has loaded. `record`: the open file that publishes are added to."""
        self.signed = signed
        self.listing = Listing(lambda: self.audit)
        self.streams = Streams(lambda: self.audit, self.listing)
        self._promises = audit.promises
        self._store = store
        self._audit: Audit | None = audit  # None after a failed commit: the store has to be read again
        self._record = record
        self._outage = WriteOutage(_now_ms)
        self._unrecorded, self._crowd = Recurring(), Recurring()
        self._broken = BrokenLog()
        self.together = Together()

    @property
    def audit(self) -> Audit:
        """The audit of all committed publishes. Raises `StoreFailure` if the store can't be read for it."""
        if self._audit is None:
            self._audit = self._store.load(self._promises)
        return self._audit

    def receive(self, publish: Publish, held_up_ms: int = 0, together: int = 1) -> Receipt:
        """Audit and commit a publish: see `receive_all`."""
        return self.receive_all([(publish, held_up_ms, together)])[0]

    def receive_all(self, publishes: Sequence[tuple[Publish, int, int]]) -> list[Receipt]:
        """Audit publishes that came together, and commit them all at once.

        With each: for how many ms this client has delayed it, as the sender says, and how many publishes were
        here at once, this one included. Raises `StoreFailure`, leaving the state unchanged.
        """
        audit, now_ns = self.audit, time.time_ns()
        taken = [
            Taken(publish, now_ns, held_up_ms, together, audit.promises)
            for publish, held_up_ms, together in publishes
        ]
        receipts = [audit.receive(one.publish, now_ns, one.held_up_ms, one.together) for one in taken]
        try:
            # Commit before the answer: the service never sends a total again that was confirmed.
            self._store.commit(taken, receipts, audit)
        except StoreFailure:
            # The audit has publishes that the disk does not have. The disk is right, so the next use of
            # the audit loads it again.
            self._audit = None
            raise
        self._outage.tried(None)
        for one, receipt in zip(taken, receipts, strict=True):
            self._write_down(one)
            self._broken.note(receipt.found, _now_ms())
            self.streams.changed(receipt.videos)
        return receipts

    def store_failed(self, failure: StoreFailure) -> None:
        """Log that the store fails: at once, once a minute, and when a publish is committed again."""
        self._outage.tried(failure)

    def has_no_room(self) -> None:
        """Log once a minute that too many pages are open."""
        if self._crowd.seen(_now_ms()):
            log.error("the client refuses another page: too many are open; close some")

    def _write_down(self, taken: Taken) -> None:
        if self._record is None:
            return
        facts = {"received_at_ns": taken.received_at_ns, "held_up_ms": taken.held_up_ms}
        line = msgspec.json.encode(msgspec.to_builtins(taken.publish) | facts)
        try:
            self._record.write(line + b"\n")
        except OSError as error:
            # The publish is committed: a line missing in the recording is no reason to send it again.
            if self._unrecorded.seen(_now_ms()):
                name = self._record.name
                log.error(
                    "client %s: publishes cannot be recorded (%s) and are left out", name, error.strerror
                )
            return
        lasted_ms = self._unrecorded.over(_now_ms())
        if lasted_ms is not None:
            log.info(
                "client %s: publishes are recorded again, after %.1f s", self._record.name, lasted_ms / 1000
            )


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
