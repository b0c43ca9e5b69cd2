"""Where a publish goes: the client over HTTP, an NSQ topic, or stdout. Knows how a batch is sent, not when.

One client, one confirmed total a video: its 2xx, or nsqd's OK, confirms a batch; stdout mirrors what was
confirmed. With neither URL nor topic the line on stdout is the publish.

Promises: `REFUSED` is said only of a batch that was not sent or that the client answered with a refusal;
whatever else goes wrong once sending has begun is `UNKNOWN`. Nothing that a client answers, or a reader
of stdout leaves undone, takes more than a bounded time, a bounded memory, or the event loop.
"""

import os

from ..config import Publish, Settings
from ..sources.lookup import ask_lookupd
from ..system.exits import Failure
from .delivery import Delivery, Sink
from .http import HttpSink
from .nsq_topic import NsqSink
from .route import reason_of
from .stdout import MirroredSink, StdoutSink, StdoutWriter

__all__ = [
    "Delivery",
    "HttpSink",
    "MirroredSink",
    "NsqSink",
    "Sink",
    "StdoutSink",
    "StdoutWriter",
    "open_sink",
    "reason_of",
    "secret_of",
]


def open_sink(settings: Settings) -> Sink:
    """The sink that the settings ask for. Raises `Failure` when they can't be followed."""
    publish = settings.publish
    if publish.nsq_topic:
        sink: Sink = NsqSink(publish.nsq_topic, publish.timeout_s, lambda: _nsqds(settings))
    elif publish.url:
        sink = HttpSink(publish, secret_of(publish))
    else:
        return StdoutSink()
    return MirroredSink(sink) if publish.stdout else sink


def _nsqds(settings: Settings) -> list[str]:
    """The nsqds that the plays come from: what is passed on goes to one of them."""
    lookupds = settings.nsq.lookupd_http_addresses
    return settings.nsqd_addresses or [found for address in lookupds for found in ask_lookupd(address)]


def secret_of(publish: Publish) -> bytes | None:
    """The secret that publishes are signed with. Raises `Failure` when it is named and not there."""
    if not publish.secret_env:
        return None
    secret = os.environ.get(publish.secret_env)
    if not secret:
        raise Failure(
            f"publish.secret_env = {publish.secret_env!r}, but that environment variable is not set or "
            "is empty; expected the secret in it"
        )
    return secret.encode()
