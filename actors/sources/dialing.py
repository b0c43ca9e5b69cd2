"""Connects to a name that has several addresses, some of them dead: the first that answers is used."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

from tornado.netutil import Resolver

from .resolver import resolve

STAGGER_S = 0.25  # each address gets this long before the next one is tried beside it

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def dial(host: str, port: int) -> Streams:
    """Connect to a host, by whichever of its addresses answers first.

    Raises `OSError` if none does, with the reason of the last one. May take as long as the system waits for a
    connection, so call it with a time-out. May be cancelled.
    """
    return await _first_of(await resolve(host), port)


async def living_address(host: str, port: int) -> str:
    """Return an address of a host that takes connections. It is asked only if the host has several ones.

    Raises `OSError` as `dial`.
    """
    addresses = await resolve(host)
    if len(addresses) == 1:
        return addresses[0]
    _, writer = await _first_of(addresses, port)
    address = str(writer.get_extra_info("peername")[0])
    writer.transport.abort()
    return address


class LivingResolver(Resolver):
    """`living_address`, for tornado's clients."""

    def initialize(self) -> None:
        """Tornado calls this in place of a constructor. There is nothing to do."""

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        """See `living_address`."""
        address = await living_address(host, port)
        its_own = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(int(its_own), (address, port))] if family in (socket.AF_UNSPEC, its_own) else []


async def _first_of(addresses: Sequence[str], port: int) -> Streams:
    waiting = list(addresses)
    dialing: set[asyncio.Task[Streams]] = set()
    failed = OSError("no address")
    try:
        while waiting or dialing:
            if waiting:
                dialing.add(asyncio.ensure_future(asyncio.open_connection(waiting.pop(0), port)))
            done, dialing = await asyncio.wait(
                dialing, timeout=STAGGER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None:
                    dialing |= done - {task}  # two at once: the other is closed
                    return task.result()
                failed = error if isinstance(error, OSError) else OSError(str(error))
        raise failed
    finally:
        for task in dialing:
            task.add_done_callback(_close)
            task.cancel()


def _close(task: asyncio.Task[Streams]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result()[1].transport.abort()
