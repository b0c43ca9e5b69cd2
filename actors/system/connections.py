"""A bound on the connections of a listener. `crowd.py` says which one gives way to a further one over HTTP.

Without it, a crowd at one listener takes all descriptors of a process. Then every accept fails, in tornado
with an exception that nobody catches: the process would end, and after some restarts the whole service.
"""

import errno
import resource

SHARE = 4  # a quarter of the descriptors: room for two listeners, and for what the process itself opens
CONNECTIONS_MAX = 1000  # if the limit of descriptors is high or unlimited


def connections_max() -> int:
    """The number of connections that one listener of this process may hold."""
    descriptors = descriptors_max()
    return CONNECTIONS_MAX if descriptors is None else min(CONNECTIONS_MAX, descriptors // SHARE)


def descriptors_max() -> int | None:
    """The number of files and connections that this process may have open at once; None if any number."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit if limit > 0 else None


def is_shortage(error: BaseException) -> bool:
    """Whether an error means that no descriptor is left. Listeners try again by themselves."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
