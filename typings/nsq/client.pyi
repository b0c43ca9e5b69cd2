from collections.abc import Mapping
from typing import Any

from tornado.ioloop import IOLoop

from .conn import AsyncConn

class Client:
    io_loop: IOLoop
    name: str
    # A dict; its values are what `connect_to_nsqd` makes, and a subclass narrows them with that.
    conns: Mapping[str, AsyncConn]
    conn_kwargs: dict[str, Any]
    def heartbeat(self, conn: AsyncConn) -> None: ...
    def _on_connection_identify_response(
        self, conn: AsyncConn, data: dict[str, Any], **kwargs: object
    ) -> None: ...
