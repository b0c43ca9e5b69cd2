"""Lock files: one process at a time holds a ledger, a state folder. A lock ends with its process."""

import fcntl
import os
import time
from pathlib import Path

from .exits import StoreFailure
from .regular import open_regular

PAUSE_MIN_S, PAUSE_MAX_S = 0.001, 0.02  # from one try to the next: mostly it is held for milliseconds
LOCK_TIMEOUT_S = 5.0  # as long as a former process may need to see that its supervisor is gone


def make_folder(path: str | Path) -> None:
    """Make a folder for locks, if it is not there. Raises `StoreFailure`."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


def lock_file(path: Path, timeout_s: float = LOCK_TIMEOUT_S) -> int:
    """Lock a file, making it if need be, and return the descriptor that holds the lock.

    Waits up to `timeout_s` seconds for another process. Raises `StoreFailure` if that one keeps the lock, or
    if the file can't be written. It makes no folder: a state that was moved must not get an empty double.
    """
    deadline_s, pause_s = time.monotonic() + timeout_s, PAUSE_MIN_S
    while True:
        try:
            descriptor = try_lock(path)
        except OSError as error:
            raise _cannot_write(path, error) from error
        if descriptor is not None:
            return descriptor
        if time.monotonic() > deadline_s:
            raise StoreFailure(
                f"{path}: is held by another process, expected it free: another service runs on "
                "this supervisor.state_dir; stop it, or use another folder"
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, PAUSE_MAX_S)


def _cannot_write(path: str | Path, error: OSError) -> StoreFailure:
    return StoreFailure(
        f"{path}: cannot be written ({error.strerror}); expected a folder that playtally may write "
        "to, see supervisor.state_dir"
    )


def try_lock(path: Path) -> int | None:
    """Lock a file, making it if need be, and return the descriptor that holds the lock.

    Returns None if another process holds it. Raises `OSError` if the file can't be opened for writing.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        if is_same(path, descriptor):
            return descriptor
        os.close(descriptor)  # it was removed before it was locked


def is_same(path: Path, descriptor: int) -> bool:
    """Whether a path leads to that open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return False


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock. Leaves no trace: a file that is missing stays missing."""
    try:
        with open_regular(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
