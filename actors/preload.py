"""What every actor imports, imported once in the forkserver: a restarted child then starts in
milliseconds instead of importing for a tenth of a second.
"""

import asyncio  # noqa: F401
import encodings.ascii
import encodings.idna  # noqa: F401
import os
import sqlite3  # noqa: F401

# Set this before numpy is imported. Otherwise numpy's linear algebra, which is not used here, would start
# threads, and the forkserver must fork without threads.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import tornado.platform.asyncio  # noqa: F401

from . import consumer, counter, dispatcher  # noqa: F401
from .client import actor as client  # noqa: F401
from .embedded_nsqd import actor as embedded_nsqd  # noqa: F401
from .sources import nsqd  # noqa: F401
from .system.logs import quiet_libraries

quiet_libraries()
