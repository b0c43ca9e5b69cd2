"""A bound on the connections of a listener: further ones are closed at once.

Without it, a crowd at one listener takes all descriptors of a process. Then every accept fails, in tornado
with an exception that nobody catches: the process would end, and after some restarts the whole service.
"""

import errno
import resource

SHARE = 4  # a quarter of the descriptors: room for two listeners, and for what the process itself opens
CONNECTIONS_MAX = 1000  # if the limit of descriptors is high or unlimited


def connections_max() -> int:
    """The number of connections that one listener of this process may hold."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(CONNECTIONS_MAX, descriptors // SHARE) if descriptors > 0 else CONNECTIONS_MAX


def is_shortage(error: BaseException) -> bool:
    """Whether an error means that no descriptor is left. Listeners try again by themselves."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
