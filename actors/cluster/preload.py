"""What the forkserver of a cluster imports. From here on it ignores SIGTERM: see `actors/preload.py`."""

import signal

from . import node  # noqa: F401

signal.signal(signal.SIGTERM, signal.SIG_IGN)
