"""The reference client's life: its address and its store. `handlers.py` knows HTTP beyond listening."""

import asyncio
import contextlib
import pathlib
import socket
from collections.abc import Callable, Sequence
from typing import BinaryIO, Self

from ..core.client.audit import Audit
from ..core.client.promises import Promises
from ..system import session_handlers
from ..system.doorkeeper import Doorkeeper
from ..system.exits import StoreFailure
from ..system.http_server import BoundedHTTPServer
from ..system.listeners import open_listeners
from ..system.regular import other_kind_of
from . import handlers
from .express import Express
from .reference import Reference
from .signed import Signed
from .store import ClientStore

# Larger than a publish may be, so that a publish that is too long gets an answer with the reason. The rest
# of such a publish is read and dropped, never held.
REQUEST_BYTES_MAX = 1024 * 1024
HEADER_BYTES_MAX = 16 * 1024
BODY_TIMEOUT_MAX_S = 60
IDLE_CONNECTION_TIMEOUT_S = 300
STREAMS_END_TIMEOUT_S = 1
CLOSE_TIMEOUT_S = 2


class ReferenceClient(Reference):
    """One client in the running asyncio loop, from `start` to `stop`; `port` is the port that was taken."""

    def __init__(
        self,
        store: ClientStore,
        audit: Audit,
        sockets: list[socket.socket],
        signed: Signed,
        record: BinaryIO | None,
        address: str,
        allowed_hosts: Sequence[str],
        token: Callable[[], str],
    ) -> None:
        """Called by `start`, with what it has opened."""
        super().__init__(store, audit, signed, record)
        self.port: int = sockets[0].getsockname()[1]
        open_paths = (handlers.HEALTH, *session_handlers.OPEN_PATHS)
        doorkeeper = Doorkeeper("client", token, open_paths=open_paths)
        self._server = BoundedHTTPServer(
            handlers.application(self, session_handlers.routes(doorkeeper)),
            section="client",
            doorkeeper=doorkeeper,
            address=address,
            allowed_hosts=allowed_hosts,
            express=Express(self),
            max_body_size=REQUEST_BYTES_MAX,
            max_header_size=HEADER_BYTES_MAX,
            # Ours ends a slow body before. With this limit tornado reads a body some turns of the loop after
            # its head, so heads that have come at the same time are known before any of them is answered.
            body_timeout=BODY_TIMEOUT_MAX_S,
            idle_connection_timeout=IDLE_CONNECTION_TIMEOUT_S,
        )
        self._server.add_sockets(sockets)

    @classmethod
    def start(
        cls,
        path: pathlib.Path,
        address: str,
        promises: Promises | None = None,
        *,
        signed: Signed = Signed(),
        record: pathlib.Path | None = None,
        allowed_hosts: Sequence[str] = (),
        token: Callable[[], str] = str,
    ) -> Self:
        """Open the store in the directory `path` and listen on `address`.

        The address is "host:port"; port 0 takes a free one. `signed`: how publishes must be signed. `record`
        is a file to which each publish is added as a line of JSON with `received_at_ns` and `held_up_ms`, for
        `supervisor.py audit`. `allowed_hosts`: see `BoundedHTTPServer`; `token`: see `Doorkeeper`. If it
        raises (`AddressFailure` or `StoreFailure`), it leaves nothing open.
        """
        with contextlib.ExitStack() as opened:
            store = opened.enter_context(contextlib.closing(ClientStore(path)))
            audit = store.load(promises or Promises())
            recording = opened.enter_context(_opened(record)) if record else None
            sockets = open_listeners("client.address", address)
            client = cls(store, audit, sockets, signed, recording, address, allowed_hosts, token)
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


def _opened(path: pathlib.Path) -> BinaryIO:
    if kind := other_kind_of(path):
        raise StoreFailure(f"{path}: it is {kind}, expected a file to record publishes in; name another")
    try:
        # Unbuffered, so that recorded publishes are in the file however this process ends.
        return open(path, "ab", buffering=0)
    except OSError as error:
        raise StoreFailure(
            f"{path}: {error.strerror}; expected a file to record publishes in; name another"
        ) from error
