"""The reference client's life: its address, its store, and the order in which a publish is taken.

Promises that a publish is answered with 2xx only after it is committed, and that a publish which could
not be committed leaves nothing in memory. Refuses to know HTTP beyond listening (`handlers.py`) and what
a promise is (`actors/core/client/promises.py`).
"""

import asyncio
import contextlib
import logging
import pathlib
import socket
import time
from typing import Any, BinaryIO, Self

import msgspec

from ..core.client.audit import Audit, Receipt
from ..core.client.promises import Promises, Publish
from ..system.exits import StoreFailure
from ..system.http_server import BoundedHTTPServer
from ..system.listeners import open_listeners
from . import handlers
from .events import Streams
from .store import ClientStore

# Larger than a publish may be, so that a publish that is too long gets an answer with the reason. The rest
# of such a publish is read and dropped, never held.
REQUEST_BYTES_MAX = 1024 * 1024
HEADER_BYTES_MAX = 16 * 1024
BODY_TIMEOUT_S = 10
IDLE_CONNECTION_TIMEOUT_S = 300
STREAMS_END_TIMEOUT_S = 1
CLOSE_TIMEOUT_S = 2

log = logging.getLogger(__name__)


class ReferenceClient:
    """Takes publishes at POST /plays and shows them, in the running asyncio loop, from `start` to `stop`.

    Implements `Reference`. `port`: the port that was taken. `streams`: the streams of the page.
    """

    def __init__(
        self,
        store: ClientStore,
        audit: Audit,
        sockets: list[socket.socket],
        secret: bytes | None,
        record: BinaryIO | None,
    ) -> None:
        """Called by `start`, with what it has opened."""
        self.port: int = sockets[0].getsockname()[1]
        self.promises = audit.promises
        self.secret = secret
        self.streams = Streams(self)
        self._store = store
        self._audit: Audit | None = audit  # None after a failed commit: the store has to be read again
        self._record = record
        self._server = BoundedHTTPServer(
            handlers.application(self, self.streams),
            max_body_size=REQUEST_BYTES_MAX,
            max_header_size=HEADER_BYTES_MAX,
            body_timeout=BODY_TIMEOUT_S,
            idle_connection_timeout=IDLE_CONNECTION_TIMEOUT_S,
        )
        self._server.add_sockets(sockets)
        self.streams.changed(audit.videos)

    @classmethod
    def start(
        cls,
        path: pathlib.Path,
        address: str,
        promises: Promises | None = None,
        *,
        secret: bytes | None = None,
        record: pathlib.Path | None = None,
    ) -> Self:
        """Open the store in the directory `path` and listen on `address`.

        The address is "host:port"; port 0 takes a free one. With a `secret`, publishes must be signed with
        it. `record` is a file to which each publish is added as a line of JSON with `received_at_ns`, for
        `supervisor.py audit`. If it raises (`AddressFailure` or `StoreFailure`), it leaves nothing open.
        """
        with contextlib.ExitStack() as opened:
            store = opened.enter_context(contextlib.closing(ClientStore(path)))
            audit = store.load(promises or Promises())
            recording = opened.enter_context(_opened(record)) if record else None
            client = cls(store, audit, open_listeners("client.address", address), secret, recording)
            opened.pop_all()  # from now on the client closes them
        return client

    async def stop(self) -> None:
        """Stop listening, end the streams, close the store. A second call does nothing."""
        self._server.stop()
        await self.streams.end(STREAMS_END_TIMEOUT_S)
        try:
            await asyncio.wait_for(self._server.close_all_connections(), CLOSE_TIMEOUT_S)
        finally:
            # The store is closed last, because a publish may arrive until the connections are closed.
            self._store.close()
            if self._record is not None:
                self._record.close()

    @property
    def audit(self) -> Audit:
        """See `Reference`."""
        if self._audit is None:
            self._audit = self._store.load(self.promises)
        return self._audit

    def receive(self, publish: Publish, held_up_ms: int = 0) -> Receipt:
        """See `Reference`. A committed publish is recorded, and shown on the page."""
        audit = self.audit
        received_at_ns = time.time_ns()
        receipt = audit.receive(publish, received_at_ns, held_up_ms)
        try:
            # Commit before the answer: the service never sends a total again that was confirmed.
            self._store.commit(publish, receipt, audit)
        except StoreFailure:
            # The audit has a publish that the disk does not have. The disk is right, so the next use of
            # the audit loads it again.
            self._audit = None
            raise
        self._write_down(publish, received_at_ns)
        for broken in receipt.broken:
            log.warning(
                "client broken promise %s batch %s video %s expected %s found %s",
                broken.promise,
                broken.batch,
                broken.video_id,
                broken.expected,
                broken.found,
            )
        self.streams.changed(receipt.videos)
        return receipt

    def _write_down(self, publish: Publish, received_at_ns: int) -> None:
        if self._record is None:
            return
        line = msgspec.json.encode(msgspec.to_builtins(publish) | {"received_at_ns": received_at_ns})
        try:
            self._record.write(line + b"\n")
        except OSError as error:
            # The publish is committed: a line missing in the recording is no reason to send it again.
            log.error("client %s: a publish cannot be recorded (%s)", self._record.name, error.strerror)

    def report(self) -> dict[str, Any]:
        """See `Reference`."""
        return self.audit.report()

    def stats(self) -> dict[str, int]:
        """See `Reference`."""
        statistics = self.audit.statistics
        return {
            "publishes": statistics.publishes_total(),
            "duplicates": statistics.duplicates,
            "plays": self.audit.plays,
            "videos": len(self.audit.videos),
            "promises_broken": sum(statistics.broken.values()),
            "streams": self.streams.count(),
        }


def _opened(path: pathlib.Path) -> BinaryIO:
    try:
        # Unbuffered, so that recorded publishes are in the file however this process ends.
        return open(path, "ab", buffering=0)
    except OSError as error:
        raise StoreFailure(
            f"{path}: {error.strerror}; expected a file to record publishes in; name another"
        ) from error
