"""What the supervisor and its children both import: imported once, before the forkserver is forked off.

Whatever this imports must leave the environment's values unread, and start no thread: see
`supervision/forkserver_ahead.py`.
"""

import asyncio  # noqa: F401
import encodings.ascii
import encodings.idna  # noqa: F401

import tornado.platform.asyncio  # noqa: F401

from . import config  # noqa: F401
from .config import contradictions, sections  # noqa: F401
from .core import calls, stats  # noqa: F401
from .sources import lookup, security  # noqa: F401
from .system import http_server, session_handlers, temporary  # noqa: F401
