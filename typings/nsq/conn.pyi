from asyncio import Future
from collections.abc import Callable
from socket import socket
from typing import Any

from tornado.iostream import IOStream

from .event import EventedMixin

class AsyncConn(EventedMixin):
    host: str
    port: int
    # None until `connect`, which comes before all else that is done with one, and while TLS begins.
    stream: IOStream
    socket: socket
    last_recv_timestamp: float
    last_msg_timestamp: float
    in_flight: int
    rdy: int
    last_rdy: int
    max_rdy_count: int
    auth_secret: bytes | None
    encoder: Any  # what `send` encodes with
    callback_queue: list[Any]  # the Writer's: a connection does not look at what is in it
    def __init__(
        self,
        host: str,
        port: int,
        timeout: float = 1.0,
        heartbeat_interval: int = 30,
        requeue_delay: int = 90,
        tls_v1: bool = False,
        tls_options: dict[str, Any] | None = None,
        snappy: bool = False,
        deflate: bool = False,
        deflate_level: int = 6,
        user_agent: str = ...,
        output_buffer_size: int = ...,
        output_buffer_timeout: int = 250,
        sample_rate: int = 0,
        auth_secret: str | bytes | None = None,
        msg_timeout: float | None = None,
        hostname: str | None = None,
    ) -> None: ...
    @property
    def id(self) -> str: ...
    def connected(self) -> bool: ...
    def connecting(self) -> bool: ...
    def closed(self) -> bool: ...
    def connect(self) -> None: ...
    def close(self) -> None: ...
    def send(self, data: bytes) -> Future[None]: ...
    def send_rdy(self, value: int) -> bool: ...
    def _connect_callback(self, fut: Future[IOStream]) -> None: ...
    def _socket_close(self) -> None: ...
    def _on_identify_response(self, data: bytes, **kwargs: object) -> None: ...
    def _on_response_continue(self, data: bytes | None, **kwargs: object) -> None: ...
    def _start_read(self) -> None: ...
    def _read_bytes(self, size: int, callback: Callable[[Future[bytes]], None]) -> None: ...
    def _read_body(self, fut: Future[bytes]) -> None: ...
    def _on_data(self, data: bytes, **kwargs: object) -> None: ...
