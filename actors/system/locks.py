"""Files that one process at a time may hold: a ledger, a state folder. The lock ends with the process."""

import fcntl
import os
import time
from pathlib import Path

from .exits import StoreFailure

LOCK_TIMEOUT_S = 5.0  # as long as a former process may need to see that its supervisor is gone


def lock_file(path: Path, timeout_s: float = LOCK_TIMEOUT_S) -> int:
    """Hold a lock until the process ends; its descriptor. Raises `StoreFailure` if another has it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreFailure(
            f"{path}: cannot be written ({error.strerror}); expected a folder of ours, see "
            "supervisor.state_dir"
        ) from error
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                os.close(descriptor)
                raise StoreFailure(
                    f"{path}: is held by another process, expected it free: another service runs on "
                    "this supervisor.state_dir; stop it, or use another folder"
                ) from None
            time.sleep(0.02)
