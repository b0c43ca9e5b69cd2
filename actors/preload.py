"""What every actor imports, imported once in the forkserver: a restarted child then starts in
milliseconds instead of importing for a tenth of a second.

The forkserver also learns to ignore SIGTERM here: a service manager sends that to every process of a
service, and without its forkserver the supervisor could not tell how its children end.
"""

import asyncio  # noqa: F401
import signal
import sqlite3  # noqa: F401

from . import consumer, counter, dispatcher, services  # noqa: F401

signal.signal(signal.SIGTERM, signal.SIG_IGN)
