"""Signals to processes by their pids, and whether there is such a process."""

import os


def send_signal(pid: int, number: int) -> bool:
    """Send a signal to a process. Whether there was one. A pid below 1 would mean many processes."""
    if pid < 1:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def is_there(pid: int) -> bool:
    """Whether there is such a process of this user, or of any that this one may signal."""
    try:
        return send_signal(pid, 0)
    except PermissionError:
        return False
