from collections.abc import Callable
from typing import Any

from .client import Client
from .conn import AsyncConn
from .message import Message

class Reader(Client):
    topic: str
    channel: str
    max_in_flight: int
    nsqd_tcp_addresses: list[str]
    lookupd_http_addresses: list[str]
    # Takes the options of an AsyncConn too.
    def __init__(
        self,
        topic: str,
        channel: str,
        message_handler: Callable[[Message], object] | None = None,
        name: str | None = None,
        nsqd_tcp_addresses: list[str] | str | None = None,
        lookupd_http_addresses: list[str] | str | None = None,
        max_tries: int = 5,
        max_in_flight: int = 1,
        lookupd_poll_interval: int = 60,
        low_rdy_idle_timeout: int = 10,
        max_backoff_duration: int = 128,
        lookupd_poll_jitter: float = 0.3,
        lookupd_connect_timeout: int = 1,
        lookupd_request_timeout: int = 2,
        **kwargs: Any,
    ) -> None: ...
    def connect_to_nsqd(self, host: str, port: int) -> AsyncConn | None: ...
    def close(self) -> None: ...
    def set_max_in_flight(self, max_in_flight: int) -> None: ...
    def _redistribute_rdy_state(self) -> AsyncConn | None: ...
