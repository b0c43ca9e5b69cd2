"""Sockets that listen on a "host:port" of the settings, or a failure that says what to do."""

import socket

from tornado.netutil import bind_sockets

from .addresses import split_address
from .exits import AddressFailure
from .held_ports import may_share, share


def open_listeners(setting: str, address: str, *, is_held: bool = False) -> list[socket.socket]:
    """Return sockets that listen on `address`, one for each address of its host. Port 0 takes a free one.

    `setting` names the address in the failure. `is_held`: see `held_ports.py`. Raises `AddressFailure`.
    """
    try:
        host, port = split_address(address)
    except ValueError as error:
        raise AddressFailure(f'{setting} = {error}, such as "127.0.0.1:8080"') from error
    if not host:
        raise AddressFailure(f'{setting} = {address!r}, expected "host:port", such as "127.0.0.1:8080"')
    try:
        sockets = bind_sockets(port, host, reuse_port=is_held and may_share(host, port))
    except OSError as error:
        raise AddressFailure(
            f"{setting} = {address!r} cannot be listened on: {error.strerror or error}; expected a free port "
            "of an address of this machine; stop what listens there, or set another (port 0 takes a free one)"
        ) from error
    for one in sockets:
        share(one)
    return sockets
