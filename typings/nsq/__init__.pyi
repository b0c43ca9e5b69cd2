"""What of pynsq we use; the library has no types of its own.

Callbacks of pynsq that our subclasses replace, and that nobody calls but the `connect_to_nsqd` that
they replace as well, are left out: there our own signatures say what is true.
"""

from . import event as event
from . import protocol as protocol
from .conn import AsyncConn as AsyncConn
from .message import Message as Message
from .protocol import Error as Error
from .reader import Reader as Reader
from .writer import Writer as Writer

def run() -> None: ...
