"""Actors that serve a network address and talk to no other actor: the embedded nsqd, the client.

What they do is in `embedded_nsqd` and `client`; this gives it an actor's life.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Never

from .client.errors import AddressError, StoreError
from .client.server import ReferenceClient
from .config import Settings
from .core.client.audit import Promises
from .embedded_nsqd import EmbeddedNsqd, JournalError, ListenError
from .sinks import secret_of
from .supervision.actor import Actor
from .supervision.protocol import Ready
from .system.connections import is_shortage
from .system.exits import AddressFailure, StoreFailure


class _Listener(Actor[Never, Settings]):
    """An actor that listens goes on while it has no descriptor left for a connection."""

    def survives(self, error: BaseException) -> bool:
        """Whether it does."""
        return super().survives(error) or is_shortage(error)


class Nsqd(_Listener):
    """The embedded queue."""

    async def init(self) -> Ready:
        """Listen."""
        settings = self.options.embedded_nsqd
        path = Path(self.options.supervisor.state_dir) / "nsqd"
        with _as_failures():
            self._nsqd = await EmbeddedNsqd.start(path, settings.tcp_address, settings.http_address)
        self.host.say_resumed()
        tcp = _with_port(settings.tcp_address, self._nsqd.tcp_port)
        http = _with_port(settings.http_address, self._nsqd.http_port)
        return Ready(
            {"embedded_nsqd.tcp_address": tcp, "embedded_nsqd.http_address": http},
            f"nsqd protocol on {tcp}, http://{http}",
        )

    async def terminate(self) -> None:
        """Flush and close."""
        await self._nsqd.stop()


class Client(_Listener):
    """The reference client."""

    async def init(self) -> Ready:
        """Listen."""
        dispatch = self.options.dispatch
        secret, record = secret_of(self.options.publish), self.options.client.record
        with _as_failures():
            self._client = ReferenceClient.start(
                Path(self.options.supervisor.state_dir) / "client",
                self.options.client.address,
                Promises(
                    realtime_below=dispatch.realtime_below,
                    deadline_s=dispatch.deadline_s,
                    batch_size_max=dispatch.batch_size_max,
                    every_play=dispatch.realtime == "every_play",
                ),
                secret=secret,
                record=Path(record) if record else None,
            )
        self.host.say_resumed()
        address = _with_port(self.options.client.address, self._client.port)
        return Ready({"client.address": address}, f"page at http://{address}/")

    async def terminate(self) -> None:
        """Close."""
        await self._client.stop()


@contextlib.contextmanager
def _as_failures() -> Iterator[None]:
    """What keeps a service from starting, as a failure that ends the process without a traceback."""
    try:
        yield
    except (ListenError, AddressError) as error:
        raise AddressFailure(str(error)) from error
    except (JournalError, StoreError) as error:
        raise StoreFailure(str(error)) from error


def _with_port(address: str, port: int) -> str:
    return f"{address.rpartition(':')[0]}:{port}"
