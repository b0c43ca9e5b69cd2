"""Where the queue is: the addresses of the nsqds that plays are published to.

The settings decide: plays go to the nsqds that are set and to those that the nsqlookupds know, else to the
embedded nsqd. If the embedded nsqd may take any free port, the running service's run file has the port. If
something is missing, the caller waits and asks again.
"""

import asyncio
from typing import Protocol

from actors.config import Settings
from actors.sources.discovery import Publishable
from actors.sources.lookup import shown
from actors.sources.security import Security
from actors.system import runfile
from actors.system.addresses import split_address
from actors.system.installation import service_command


class NotThereYet(Exception):
    """The queue cannot be located yet. The message says what to wait for, and where."""


class Locator(Protocol):
    """Knows where the queue is."""

    async def nsqds(self) -> list[str]:
        """Return the "host:port" of one or more nsqds. Raises `NotThereYet`."""

    @property
    def tombstoned(self) -> set[str]:
        """The "host:port"s of nsqds that are about to be taken away: nothing more is sent there."""

    async def run(self) -> None:
        """Keep looking, for as long as the run lasts."""


def locator(settings: Settings) -> Locator:
    """Return the locator that the settings ask for."""
    if settings.embedded and split_address(settings.embedded_nsqd.tcp_address)[1] == 0:
        return _RunFile(settings.supervisor.state_dir)
    return _Nsqds(settings)


class _Nsqds:
    """The nsqds of the settings, and those that nsqlookupds know."""

    def __init__(self, settings: Settings):
        self._lookupds = list(settings.nsq.lookupd_http_addresses)
        security = Security(settings.nsq)
        self._known = Publishable(
            settings.nsqd_addresses, self._lookupds, [settings.nsq.topic], security.lookupd_tls
        )

    async def nsqds(self) -> list[str]:
        try:
            return await self._known.known()
        except OSError as error:
            lookupds = ", ".join(map(shown, self._lookupds))
            raise NotThereYet(f"an nsqd to appear at nsqlookupd {lookupds} ({error})") from None

    @property
    def tombstoned(self) -> set[str]:
        return self._known.tombstoned

    async def run(self) -> None:
        await self._known.run()
        await asyncio.Event().wait()  # without nsqlookupds there is nothing to look for


class _RunFile:
    """The embedded nsqd on any free port."""

    @property
    def tombstoned(self) -> set[str]:
        return set()

    def __init__(self, state_dir: str):
        self._state_dir = state_dir

    async def nsqds(self) -> list[str]:
        facts = runfile.read(self._state_dir)
        if facts is None or not facts.get("nsqd_tcp_address"):
            raise NotThereYet(
                f"the service with its state in {self._state_dir}, because only it knows the port of its "
                f"queue: start it with `{service_command()}`"
            )
        return [facts["nsqd_tcp_address"]]

    async def run(self) -> None:
        await asyncio.Event().wait()
