"""Addresses as settings and people write them: "host:port", with an IPv6 host in brackets."""

from urllib.parse import urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def split_address(address: str) -> tuple[str, int]:
    """Return host, without brackets, and port. Raises `ValueError` if the port is not 0 to 65535."""
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f'{address!r}, expected "host:port" with a port of 0 to 65535')
    return host.removeprefix("[").removesuffix("]"), int(port)


def join_address(host: str, port: int) -> str:
    """Return "host:port". `host`: a name, an IPv4 or an IPv6 address, without brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def leads_to(url: str, address: str) -> bool:
    """Whether a URL leads to a listener of this machine at `address` ("host:port"), judged by their texts."""
    parts, (host, _, port) = urlsplit(url), address.rpartition(":")
    here = {*LOOPBACK, host.strip("[]").lower()}
    return (parts.port or 80) == int(port) and parts.hostname in here


def with_port(address: str, port: int) -> str:
    """The same host with another port: the one that was taken, if `address` asks for any free one."""
    return f"{address.rpartition(':')[0]}:{port}"
