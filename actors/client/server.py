"""The reference client's life: its address, its store, and the order in which a publish is taken.

Promises that a publish is answered with 2xx only after it is committed, and that nothing of one
that could not be committed stays in memory. Refuses to know HTTP beyond listening (`handlers.py`)
and what a promise is (`actors/core/client/audit.py`).
"""

import asyncio
import contextlib
import logging
import pathlib
import socket
import time
from typing import Any, BinaryIO, Self

import msgspec
from tornado.netutil import bind_sockets

from ..core.client.audit import Audit, Promises, Publish, Receipt
from ..system.http_server import BoundedHTTPServer
from . import handlers
from .errors import AddressError, StoreError
from .events import Streams
from .store import ClientStore

# Above a publish's own limit, so that one too long can still be answered in words; its rest is
# read and dropped, never held.
REQUEST_BYTES_MAX = 1024 * 1024
HEADER_BYTES_MAX = 16 * 1024
BODY_TIMEOUT_S = 10
IDLE_CONNECTION_TIMEOUT_S = 300
STREAMS_END_TIMEOUT_S = 1
CLOSE_TIMEOUT_S = 2

_log = logging.getLogger("playtally.client")


class ReferenceClient:
    """Takes publishes at `POST /plays` and shows them, in the event loop that runs, from `start` to `stop`.

    `port` is the one that was taken. `streams` are those of the page.
    """

    def __init__(
        self,
        store: ClientStore,
        audit: Audit,
        sockets: list[socket.socket],
        secret: bytes | None,
        record: BinaryIO | None,
    ) -> None:
        """`start` makes one, of what it has opened."""
        self.port: int = sockets[0].getsockname()[1]
        self.promises = audit.promises
        self.secret = secret
        self.streams = Streams(self)
        self._store = store
        self._audit: Audit | None = audit  # None while it is ahead of the store
        self._record = record
        self._server = BoundedHTTPServer(
            handlers.application(self),
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
        """Opens the store and listens. Raises `AddressError` or `StoreError`; nothing is left.

        `path` is the directory of its files. `address` is "host:port"; port 0 takes a free one. With a
        `secret`, publishes must be signed with it. `record`: a file to which each publish is added as a
        line of JSON with `received_at_ns`, for `supervisor.py audit`.
        """
        host, port = _host_and_port(address)
        with contextlib.ExitStack() as opened:
            store = opened.enter_context(contextlib.closing(ClientStore(path)))
            audit = store.load(promises or Promises())
            recording = opened.enter_context(_opened(record)) if record else None
            client = cls(store, audit, _bound(address, host, port), secret, recording)
            opened.pop_all()  # they are the client's to close from now on
        return client

    async def stop(self) -> None:
        """Listens no more, ends the streams, closes the store. Safe to call twice."""
        self._server.stop()
        await self.streams.end(STREAMS_END_TIMEOUT_S)
        try:
            await asyncio.wait_for(self._server.close_all_connections(), CLOSE_TIMEOUT_S)
        finally:
            # The store last: until the connections are closed, a publish may still arrive.
            self._store.close()
            if self._record is not None:
                self._record.close()

    @property
    def audit(self) -> Audit:
        """The audit of what is committed. Raises `StoreError` when it had to be read and can't."""
        if self._audit is None:
            self._audit = self._store.load(self.promises)
        return self._audit

    def receive(self, publish: Publish, held_up_ms: int = 0) -> Receipt:
        """Audits, commits, shows. Raises `StoreError` when the disk refuses; nothing is taken.

        `held_up_ms`: for how long this client did not answer, as the sender says.
        """
        audit = self.audit
        received_at_ns = time.time_ns()
        receipt = audit.receive(publish, received_at_ns, held_up_ms)
        try:
            # Commit before the answer: the service never sends a total again that was confirmed.
            self._store.commit(publish, receipt, audit)
        except StoreError:
            # The audit is ahead of the disk now. What is committed is the truth; read it anew.
            self._audit = None
            raise
        self._write_down(publish, received_at_ns)
        for broken in receipt.broken:
            _log.warning(
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
            # The publish is committed: a recording with a hole is no reason to have it sent again.
            _log.error("client %s: cannot be added to (%s)", self._record.name, error.strerror)

    def report(self) -> dict[str, Any]:
        """What `GET /report` answers."""
        return self.audit.report()

    def stats(self) -> dict[str, int]:
        """The few figures for a status line."""
        statistics = self.audit.statistics
        return {
            "publishes": statistics.publishes_total(),
            "duplicates": statistics.duplicates,
            "plays": self.audit.plays,
            "videos": len(self.audit.videos),
            "promises_broken": sum(statistics.broken.values()),
            "streams": self.streams.count(),
        }


def _host_and_port(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise AddressError(
            f'client address {address!r}, expected "host:port" with a port of 0 to 65535, '
            f'such as "127.0.0.1:8080"'
        )
    return host, int(port)


def _opened(path: pathlib.Path) -> BinaryIO:
    try:
        # Unbuffered: what was recorded is there, whatever ends this process.
        return open(path, "ab", buffering=0)
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror}; expected a file to record publishes in; name another"
        ) from error


def _bound(address: str, host: str, port: int) -> list[socket.socket]:
    try:
        return bind_sockets(port, address=host)
    except OSError as error:
        raise AddressError(
            f"client address {address!r} cannot be listened on: {error.strerror or error}; "
            f"expected a free port of an address of this machine; stop what listens there, or set "
            f"another (port 0 takes a free one)"
        ) from error
