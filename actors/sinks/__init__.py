"""Where a publish goes: the client over HTTP, and stdout. Knows how a batch is sent, not when.

One confirmed total a video: the client's 2xx confirms a batch, stdout mirrors what it confirmed. With
no URL the line on stdout is the publish. Promises: `REFUSED` is said only of a batch that was not sent
or that the client answered with a refusal; whatever else goes wrong once sending has begun is
`UNKNOWN`. Nothing that a client answers, or a reader of stdout leaves undone, takes more than a bounded
time, a bounded memory, or the event loop.
"""

import os

from ..config import Publish
from ..exits import Failure
from .delivery import Delivery, Sink
from .http import HttpSink, reason_of
from .stdout import MirroredSink, StdoutSink, StdoutWriter

__all__ = [
    "Delivery",
    "HttpSink",
    "MirroredSink",
    "Sink",
    "StdoutSink",
    "StdoutWriter",
    "open_sink",
    "reason_of",
    "secret_of",
]


def open_sink(publish: Publish) -> Sink:
    """The sink that the settings ask for. Raises `Failure` when they can't be followed."""
    if not publish.url:
        return StdoutSink()
    http = HttpSink(publish.url, publish.timeout_s, secret_of(publish))
    return MirroredSink(http) if publish.stdout else http


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
