"""Whether something has come on a connection that the loop has not read yet."""

import asyncio
import select


def has_unread(transport: asyncio.BaseTransport) -> bool:
    """Whether the system holds bytes of this connection, or its end. False for a transport without a socket.

    Over TLS, bytes may be a message of TLS alone. Ask right before a write, with no await between: what comes
    then was not asked for.
    """
    socket = transport.get_extra_info("socket")
    if socket is None or (descriptor := socket.fileno()) < 0:
        return False
    poll = select.poll()  # select() takes no descriptor above 1023
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
