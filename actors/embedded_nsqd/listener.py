"""Sockets that listen on a "host:port" of the settings, or an error that says what to do."""

import errno
import socket

from ..system.addresses import split_address
from ..system.exits import AddressFailure

# nsqd takes the system's own maximum; this is the default of Linux.
LISTEN_BACKLOG = 4096
TCP_ADDRESS = "tcp_address"  # the setting for NSQ's protocol


def open_listener(setting: str, address: str) -> socket.socket:
    """A non-blocking TCP socket that listens on `address`, "host:port"; port 0 takes a free one.

    `setting` names the address in the error. Raises `AddressFailure`.
    """
    try:
        host, port = split_address(address)
    except ValueError:
        raise AddressFailure(
            f"{setting} = {address!r}, expected host:port, the port from 0 to 65535"
        ) from None
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise AddressFailure(
            f"{setting} = {address!r}: the host {host!r} is not known ({error.strerror}); name one "
            "of this machine's addresses, such as 127.0.0.1"
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(name)
        listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressFailure(f"{setting} = {address!r}: {_advice(error, setting, address)}") from error
    return listener


def _advice(error: OSError, setting: str, address: str) -> str:
    if isinstance(error, PermissionError):
        return f"{error.strerror}; ports below 1024 need privileges: take a higher one"
    reason = (error.strerror or str(error)).lower()
    if error.errno != errno.EADDRINUSE:
        return f"{reason}; expected an address of this machine"
    advice = f"{reason}; stop what listens there, or choose another port (0 takes a free one)"
    if setting != TCP_ADDRESS:
        return advice
    instead = f'nsq.nsqd_tcp_addresses = ["{address}"]'
    return f"{advice}. If it is an nsqd, playtally can use it instead of the embedded queue: {instead}"
