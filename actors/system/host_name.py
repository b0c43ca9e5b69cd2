"""This machine's name as text that every protocol can carry."""

import os
import socket


def host_name() -> str:
    """Return the host name. A byte in it that is not UTF-8 becomes the replacement character, U+FFFD."""
    return os.fsencode(socket.gethostname()).decode("utf-8", "replace")
