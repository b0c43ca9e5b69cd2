"""The reference client as a child of the supervisor. It gets publishes by HTTP, and talks to no actor.

The supervisor tells it how many plays are counted, as publishes don't.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Never

from ..config import Settings, credentials_of, token_of
from ..config.promises import promises_of
from ..core import counted
from ..store import begin_state
from ..supervision.actor import Actor
from ..supervision.protocol import Ready
from ..system.addresses import with_port
from ..system.connections import is_shortage
from ..system.exits import Failure
from ..system.watched_files import reload_all
from .server import ReferenceClient
from .signed import Signed
from .store import FILE_NAME


class Client(Actor[Never, Settings]):
    """The actor that runs the reference client."""

    async def init(self) -> Ready:
        """Open the store and listen. Raises `AddressFailure` or `StoreFailure`."""
        path = Path(self.options.supervisor.state_dir) / "client"
        begin_state(self.options, path / FILE_NAME, self.start_args.is_first)
        settings, publish = self.options.client, self.options.publish
        self._credentials, self._token = credentials_of(publish), token_of(self.options, "client")
        self._client = ReferenceClient.start(
            path,
            settings.address,
            promises_of(self.options),
            signed=Signed(publish.signature, lambda: self._credentials.value().secrets),
            token=self._token.value,
            record=Path(settings.record) if settings.record else None,
            allowed_hosts=settings.allowed_hosts,
        )
        self.host.say_resumed()
        address = with_port(settings.address, self._client.port)
        return Ready({"client.address": address}, f"page at http://{address}/")

    def reload(self) -> None:
        """Read the secrets and the token again. The supervisor says what is wrong, for all."""
        with contextlib.suppress(Failure):
            reload_all(self._credentials, self._token)

    def handle_call(self, request: bytes, reply: Callable[[bytes], None]) -> None:
        """Show how many plays the service has counted."""
        self._client.streams.show_counted(counted.decode(request).plays)
        reply(b"")

    def survives(self, error: BaseException) -> bool:
        """Go on also if the process has no file descriptor left for a new connection."""
        return super().survives(error) or is_shortage(error)

    async def terminate(self) -> None:
        """End the page's streams and close everything."""
        await self._client.stop()
