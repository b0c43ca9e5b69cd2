"""What this process and its children make is their user's alone: see `ownership.py`."""

import os

UMASK = 0o077


def keep_private() -> None:
    """Have everything that this process and its children make be for their user alone."""
    os.umask(UMASK)
