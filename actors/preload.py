"""What every actor imports, imported once in the forkserver: a restarted child then starts in
milliseconds instead of importing for a tenth of a second.

The forkserver also learns to ignore SIGTERM here: a service manager sends that to every process of a
service, and without its forkserver the supervisor could not tell how its children end.
"""

import asyncio  # noqa: F401
import os
import signal
import sqlite3  # noqa: F401

# Before numpy is imported: its linear algebra, which nobody here uses, would start threads, and the
# forkserver has to fork without any.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from . import consumer, counter, dispatcher  # noqa: F401
from .client import actor as client  # noqa: F401
from .embedded_nsqd import actor as embedded_nsqd  # noqa: F401
from .sources import nsqd  # noqa: F401
from .system.logs import quiet_libraries

quiet_libraries()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
