"""Sockets that listen on a "host:port" of the settings, or a failure that says what to do."""

import socket

from tornado.netutil import bind_sockets

from .addresses import split_address
from .exits import AddressFailure


def open_listeners(setting: str, address: str) -> list[socket.socket]:
    """Return sockets that listen on `address`, one for each address of its host. Port 0 takes a free one.

    `setting` names the address in the failure. Raises `AddressFailure`.
    """
    try:
        host, port = split_address(address)
    except ValueError as error:
        raise AddressFailure(f'{setting} = {error}, such as "127.0.0.1:8080"') from error
    if not host:
        raise AddressFailure(f'{setting} = {address!r}, expected "host:port", such as "127.0.0.1:8080"')
    try:
        return bind_sockets(port, host)
    except OSError as error:
        raise AddressFailure(
            f"{setting} = {address!r} cannot be listened on: {error.strerror or error}; expected a free port "
            "of an address of this machine; stop what listens there, or set another (port 0 takes a free one)"
        ) from error
