"""Where publishes go: the client over HTTP, an NSQ topic, or stdout. A sink knows how to send, not when.

There is one client, and one accepted total per video. The client's 2xx, or nsqd's OK, accepts a batch; stdout
mirrors what was accepted. With neither URL nor topic, the line on stdout is the publish.

Promises: the outcome is `REFUSED` only if the batch was not sent, or if the client answered with a refusal.
Whatever else goes wrong after sending has begun is `UNKNOWN`. A bad answer, or a slow reader of stdout, never
takes more than a bounded time and memory, and never blocks the event loop.
"""

from ..config import Settings, SinkKind
from ..sources.discovery import Publishable
from ..sources.lookup import topics_of
from ..sources.security import Security
from ..system.reasons import reason_of
from .client_totals import own_client
from .delivery import Delivery, Sink
from .http import HttpSink
from .stdout import MirroredSink, StdoutSink, StdoutWriter, is_wanted

__all__ = [
    "Delivery",
    "HttpSink",
    "MirroredSink",
    "Sink",
    "StdoutSink",
    "StdoutWriter",
    "open_sink",
    "reason_of",
]


def open_sink(settings: Settings) -> Sink:
    """The sink that the settings ask for. Raises `Failure` when they can't be followed."""
    publish = settings.publish
    sink: Sink
    match publish.sink_kind:
        case SinkKind.STDOUT:
            return StdoutSink()
        case SinkKind.URL:
            sink = HttpSink(publish, own_client(settings))
        case SinkKind.NSQ_TOPIC:
            from .nsq_topic import NsqSink  # here: it imports pynsq, and no other sink needs that

            security, lookupds = Security(settings.nsq), list(settings.nsq.lookupd_http_addresses)
            nsqds = Publishable(settings.nsqd_addresses, lookupds, topics_of(settings), security.lookupd_tls)
            sink = NsqSink(publish.nsq_topic, publish.timeout_s, nsqds, security)
    return MirroredSink(sink) if publish.stdout and is_wanted() else sink
