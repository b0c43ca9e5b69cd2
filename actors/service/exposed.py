"""Listeners that others in the network reach: refused without a token, and what they can do there."""

import socket
from typing import NamedTuple

from ..config import Settings, has_token, listeners
from ..system.addresses import split_address, with_port
from ..system.this_machine import is_loopback

_EVERY_ADDRESS = ("0.0.0.0", "::", "::ffff:0.0.0.0")
INSECURE = "--insecure"


class _Listener(NamedTuple):
    """One that others reach. `has_token`: None for one that knows no token, as NSQ's nsqd."""

    name: str
    address: str
    can: str  # what everyone there can do
    has_token: bool | None


def refusals_of(settings: Settings) -> list[str]:
    """Return a line for each listener that is not on loopback and that anyone could use, without a token."""
    found = []
    for name, address, can, with_token in _listeners(settings):
        section = name.partition(".")[0]
        if with_token is False and not is_loopback(split_address(address)[0]):
            found.append(
                f'{name} = "{address}" is reached from other machines, and anyone there could {can}; '
                f"expected a token in {section}.token_env or {section}.token_file (`openssl rand -hex 32` "
                f"makes one), or {_on_loopback(address)}; `run {INSECURE}` starts it all the same"
            )
    return found


def warnings_of(settings: Settings) -> list[str]:
    """Return a line for each listener that others reach and that anyone can use, without a token."""
    found = []
    for name, address, can, with_token in _listeners(settings):
        host = split_address(address)[0]
        where = (
            "on all addresses of this machine" if _is_every_address(host) else "reached from other machines"
        )
        if with_token is False and not is_loopback(host):
            section = name.partition(".")[0]
            found.append(
                f'INSECURE: {name} = "{address}" is {where} and has no token ({INSECURE}): everyone in the '
                f"network can {can}; set {section}.token_env or {section}.token_file, or "
                f"{_on_loopback(address)}"
            )
        elif with_token is None and _is_every_address(host):
            found.append(
                f'{name} = "{address}" is {where}: everyone in the network can {can}; if only this machine '
                f"needs it, set {_on_loopback(address)}"
            )
    return found


def _listeners(settings: Settings) -> list[_Listener]:
    signed = settings.publish.secret_env or settings.publish.secret_file
    allowed = {
        "admin.address": "read the status and the metrics",
        "client.address": "read every total" if signed else "publish totals, and read every total",
        "embedded_nsqd.tcp_address": "publish plays, and take plays away",
        "embedded_nsqd.http_address": "publish plays, and delete those that wait",
    }
    tokens = {
        "admin.address": has_token(settings.admin),
        "client.address": has_token(settings.client),
    }
    return [
        _Listener(name, address, allowed[name], tokens.get(name)) for name, address in listeners(settings)
    ]


def _on_loopback(address: str) -> str:
    return f'"{with_port("127.0.0.1:0", split_address(address)[1])}"'


def _is_every_address(host: str) -> bool:
    """Whether a host is the address that means all; "0" is one too."""
    try:
        found = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return False
    return any(one[4][0] in _EVERY_ADDRESS for one in found)
