from typing import Any

from .client import Client

class Writer(Client):
    # Takes the options of an AsyncConn too.
    def __init__(
        self,
        nsqd_tcp_addresses: list[str] | str,
        reconnect_interval: float = 15.0,
        name: str | None = None,
        **kwargs: Any,
    ) -> None: ...
    def connect(self) -> None: ...
    def connect_to_nsqd(self, host: str, port: int) -> None: ...
