"""Listeners that everyone in the network reaches: what they can do there, and what to set instead."""

import socket

from ..config import Settings, listeners
from ..system.addresses import split_address, with_port

_EVERY_ADDRESS = ("0.0.0.0", "::", "::ffff:0.0.0.0")


def warnings_of(settings: Settings) -> list[str]:
    """Return a line for each listener that is bound to all addresses of this machine."""
    signed = settings.publish.secret_env or settings.publish.secret_file
    allowed = {
        "admin.address": "read the status and the metrics",
        "client.address": "read every total" if signed else "publish totals, and read every total",
        "embedded_nsqd.tcp_address": "publish plays, and take plays away",
        "embedded_nsqd.http_address": "publish plays, and delete those that wait",
    }
    return [
        f'{name} = "{address}" is on all addresses of this machine: everyone in the network can '
        f'{allowed[name]}; if only this machine needs it, set "{with_port("127.0.0.1:0", port)}"'
        for name, address in listeners(settings)
        for host, port in [split_address(address)]
        if _is_every_address(host)
    ]


def _is_every_address(host: str) -> bool:
    """Whether a host is the address that means all; "0" is one too."""
    try:
        found = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return False
    return any(one[4][0] in _EVERY_ADDRESS for one in found)
