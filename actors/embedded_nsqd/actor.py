"""The embedded nsqd as a child of the supervisor. It talks to no other actor.

Its journal is in the folder `nsqd` of the state folder. The mark is beside that folder, so a folder that is
gone is noticed.
"""

from pathlib import Path
from typing import Never

from ..config import Settings
from ..store import begin_state
from ..supervision.actor import Actor
from ..supervision.protocol import Ready
from ..system.addresses import with_port
from ..system.connections import is_shortage
from .journal_file import FILE_NAME
from .server import EmbeddedNsqd


class Nsqd(Actor[Never, Settings]):
    """The actor that runs the embedded nsqd."""

    async def init(self) -> Ready:
        """Open the journal and listen. Raises `AddressFailure` or `StoreFailure`."""
        path = Path(self.options.supervisor.state_dir) / "nsqd"
        begin_state(self.options, path / FILE_NAME, self.start_args.is_first)
        settings = self.options.embedded_nsqd
        self._nsqd = await EmbeddedNsqd.start(
            path,
            settings.tcp_address,
            settings.http_address,
            marked=path,
            allowed_hosts=settings.allowed_hosts,
            broadcast_address=settings.broadcast_address,
        )
        self.host.say_resumed()
        tcp = with_port(settings.tcp_address, self._nsqd.tcp_port)
        http = with_port(settings.http_address, self._nsqd.http_port)
        return Ready(
            {"embedded_nsqd.tcp_address": tcp, "embedded_nsqd.http_address": http},
            f"nsqd protocol on {tcp}, http://{http}",
        )

    def survives(self, error: BaseException) -> bool:
        """Keep running while the process has no file descriptor left for a new connection."""
        return super().survives(error) or is_shortage(error)

    async def terminate(self) -> None:
        """Write down which messages were finished, and close everything."""
        await self._nsqd.stop()
