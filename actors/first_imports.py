"""What the children import that start first, the queue and the client. See `preload.py`."""

import os
import sqlite3  # noqa: F401

# Set this before numpy is imported. Otherwise numpy's linear algebra, which is not used here, would start
# threads, and the forkserver must fork without threads.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from . import shared_imports  # noqa: F401
from .client import actor as client  # noqa: F401
from .embedded_nsqd import actor as embedded_nsqd  # noqa: F401
from .system.logs import quiet_libraries
from .system.small_arrays import fill_cache

quiet_libraries()
fill_cache()
