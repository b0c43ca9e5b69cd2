"""Keeps the ports of children while they restart: meanwhile no other user of the machine takes one. On Linux.

A socket that is bound and does not listen keeps its port, and connections to it are refused as before. The
system lets only sockets of one user share a port (SO_REUSEPORT): the next incarnation can bind beside it, and
nobody else can. A first incarnation shares its port only after it has bound it alone, so that two services
never share one.
"""

import contextlib
import itertools
import socket
import sys
from collections.abc import Iterable

from .addresses import split_address

CONNECT_TIMEOUT_S = 1.0  # to an address of this machine: it is answered at once


def share(one: socket.socket) -> None:
    """Let other sockets of this user bind the address of this one from now on."""
    if sys.platform == "linux":
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def may_share(host: str, port: int) -> bool:
    """Whether nobody listens there, so that it is our supervisor alone that has the port, if anybody has."""
    try:
        socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


class HeldPorts:
    """The ports that this process keeps."""

    def __init__(self) -> None:
        self._held: dict[str, list[socket.socket]] = {}

    def hold(self, addresses: Iterable[str]) -> None:
        """Keep these "host:port"s, on which children of ours listen. One that can't be kept is left out."""
        for address in addresses:
            if address not in self._held and sys.platform == "linux":
                self._held[address] = list(_bound(address))

    def close(self) -> None:
        """Keep none any more."""
        for one in itertools.chain.from_iterable(self._held.values()):
            one.close()
        self._held.clear()


def _bound(address: str) -> Iterable[socket.socket]:
    host, port = split_address(address)
    with contextlib.suppress(OSError):  # its host is not known any more
        for family, kind, protocol, _, name in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            one = socket.socket(family, kind, protocol)
            share(one)
            try:
                one.bind(name)
                yield one
            except OSError:
                one.close()
