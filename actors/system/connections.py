"""How many connections a listener holds at once: whoever comes when they are all taken is let go.

Without that bound a crowd at one door takes all descriptors of a process, and then every accept in it
fails, in tornado with an exception that nobody catches: the process, and after some of them the whole
service, would end.
"""

import errno
import resource

SHARE = 4  # of all descriptors: room for two listeners, and for what the process itself opens
CONNECTIONS_MAX = 1000  # where there is no limit, or a great one


def connections_max() -> int:
    """How many connections one listener of this process may hold."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(CONNECTIONS_MAX, descriptors // SHARE) if descriptors > 0 else CONNECTIONS_MAX


def is_shortage(error: BaseException) -> bool:
    """Whether a process has no descriptor left just now: the listeners try again by themselves."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
