"""Which nsqd a connection leads to: two connections with one place lead to one nsqd.

Another machine is known by the address of the connection. This machine has many addresses, and an nsqd may
listen on all of them or on one. So an nsqd of this machine is known by the socket that listens, which Linux
tells. Where nobody tells, an address is a place of its own: two connections to one nsqd are better than an
nsqd that is not read.
"""

import ipaddress
import socket
import sys
from pathlib import Path

from msgspec import Struct

from ..system.addresses import join_address

LOOPBACK = "127.0.0.1"
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENS = "0A"


class Place(Struct, frozen=True):
    """Where a connection leads. `names`: the "host:port"s that lead to the same nsqd for certain."""

    key: str
    names: frozenset[str]


def ends_of(connection: socket.socket) -> tuple[str, str, int] | None:
    """Return our address, the other end's address and its port; None if the connection has ended."""
    try:
        own, peer = connection.getsockname(), connection.getpeername()
    except OSError:
        return None
    return _plain(own[0]), _plain(peer[0]), int(peer[1])


def own_end_of(connection: socket.socket) -> str:
    """Return our end's "host:port", as the other end names it if nothing between changes it; "" if ended."""
    try:
        host, port = connection.getsockname()[:2]
    except OSError:
        return ""
    return join_address(_plain(host), port)


def place_of(own: str, peer: str, port: int) -> Place:
    """Return the place of a connection from our address to a peer's. Reads files if it leads here."""
    return found_among(listeners(port) if is_this_machine(own, peer) else set(), peer, port)


def is_this_machine(own: str, peer: str) -> bool:
    """Whether a connection from our address to a peer's stays on this machine."""
    return own == peer or ipaddress.ip_address(peer.partition("%")[0]).is_loopback


def found_among(listening: set[str], peer: str, port: int) -> Place:
    """Return the place of a peer. `listening`: the addresses of this machine that are listened on."""
    name = join_address(peer, port)
    listener = _reached(listening, peer)
    if listener is None:
        return Place(name, frozenset({name}))
    names = {name}
    if _reached(listening, LOOPBACK) == listener:
        names.add(join_address(LOOPBACK, port))  # the name that all names of this machine have in common
    return Place(f"{join_address(listener, port)} of this machine", frozenset(names))


def listeners(port: int) -> set[str]:
    """Return the addresses of this machine on which something listens at this port. Empty: nobody tells."""
    found: set[str] = set()
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue  # not Linux, or a system without IPv6
        for line in lines:
            _, local, _, state, *_ = line.split()
            address, _, its_port = local.partition(":")
            if state == _LISTENS and int(its_port, 16) == port:
                found.add(_address(address))
    return found


def _reached(listening: set[str], peer: str) -> str | None:
    """The address of the socket that gets a connection to `peer`. The most exact address has precedence."""
    wild = ("::",) if ":" in peer else ("0.0.0.0", "::")
    return next((one for one in (peer, *wild) if one in listening), None)


def _address(hexadecimal: str) -> str:
    """An address as Linux writes it: words of 32 bits, each in the machine's order of bytes."""
    words = [hexadecimal[at : at + 8] for at in range(0, len(hexadecimal), 8)]
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    return _plain(str(ipaddress.ip_address(packed)))


def _plain(address: str) -> str:
    """An IPv4 address in IPv6's form becomes itself."""
    host = address.partition("%")[0]
    mapped = getattr(ipaddress.ip_address(host), "ipv4_mapped", None)
    return str(mapped) if mapped else address
