"""The names and addresses of this machine."""

import contextlib
import ipaddress
import socket
from pathlib import Path

from .host_name import host_name

HOSTS_FILE = Path("/etc/hosts")


def own_names(hosts_file: Path = HOSTS_FILE) -> set[str]:
    """The host name, in lower case, and the other names in the lines of /etc/hosts that have it.

    No name server is asked.

    Those lines have the full name: "10.1.2.3 web1.example.org web1".
    """
    name = host_name().lower()
    found = {name}
    with contextlib.suppress(OSError):
        for line in hosts_file.read_text(encoding="utf-8", errors="replace").lower().splitlines():
            _, *names = line.partition("#")[0].split() or [""]
            found |= set(names) if name in names else set()
    return found


def is_loopback(host: str) -> bool:
    """Whether no other machine reaches a listener on that host. One that is not known now may be reached.

    Asks a name server if the host is a name that this machine does not know.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # no address, or no name at all
        return False
    addresses = [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]
    return all((getattr(one, "ipv4_mapped", None) or one).is_loopback for one in addresses)


def has_address(address: str) -> bool:
    """Whether an IP address is one of this machine's: then, and only then, a socket can be bound to it.

    A link-local address may be on any interface.
    """
    parsed = ipaddress.ip_address(address)
    if parsed.version == 4:
        return _can_bind(socket.AF_INET, (address, 0))
    interfaces = [index for index, _ in socket.if_nameindex()] if parsed.is_link_local else [0]
    return any(_can_bind(socket.AF_INET6, (address, 0, 0, interface)) for interface in interfaces)


def _can_bind(family: socket.AddressFamily, address: tuple[str, int] | tuple[str, int, int, int]) -> bool:
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind(address)
        return True
    return False
