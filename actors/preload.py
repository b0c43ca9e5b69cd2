"""What every actor imports, imported once in the forkserver: a restarted child then starts in
milliseconds instead of importing for a tenth of a second.
"""

from . import consumer, counter, dispatcher, first_imports  # noqa: F401
from .sinks import nsq_topic  # noqa: F401
from .sources import nsqd  # noqa: F401
