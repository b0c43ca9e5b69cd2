"""Whether something has come on a connection that the loop has not read yet."""

import asyncio
import select


def poll_for_unread(transport: asyncio.BaseTransport) -> "select.poll":
    """For many looks: `poll(0)` returns [] if the system holds no bytes of this connection, nor its end.

    Always [] for a transport without a socket. Not for one that is closed: another connection may have its
    descriptor. Over TLS, bytes may be a message of TLS alone. Look right before a write, with no await
    between: what comes then was not asked for.
    """
    found = select.poll()  # select() takes no descriptor above 1023
    socket = transport.get_extra_info("socket")
    if socket is not None and (descriptor := socket.fileno()) >= 0:
        found.register(descriptor, select.POLLIN)
    return found


def has_unread(transport: asyncio.BaseTransport) -> bool:
    """One look: whether the system holds bytes of this connection, or its end. See `poll_for_unread`."""
    return bool(poll_for_unread(transport).poll(0))
