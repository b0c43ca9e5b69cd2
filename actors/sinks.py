"""Where a publish goes: the client over HTTP, and stdout. Knows how a batch is sent, not when.

One confirmed total a video: the client's 2xx confirms a batch, stdout mirrors what it confirmed. With
no URL the line on stdout is the publish.
"""

import hashlib
import hmac
import json
import logging
import os
import sys
from typing import Protocol

from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError

from .config import Publish
from .core.dispatching import Outcome
from .core.outbox import Batch, payload
from .exits import Failure

log = logging.getLogger(__name__)

# Answers that a proxy gives when it does not know whether the client behind it took the batch.
UNKNOWN_STATUSES = {408, 502, 504}
RETRY_AFTER_S_MAX = 3600
ANSWER_BYTES_MAX = 64 * 1024


class Delivery:
    """What became of one attempt: the outcome, why, and the pause that the client asked for."""

    def __init__(self, outcome: Outcome, why: str = "", retry_after_ms: int | None = None):
        self.outcome = outcome
        self.why = why
        self.retry_after_ms = retry_after_ms


class Sink(Protocol):
    """Sends batches."""

    async def deliver(self, batch: Batch) -> Delivery:
        """Send a batch once. Never raises for what a client or a network does."""


def open_sink(publish: Publish) -> Sink:
    """The sink that the settings ask for. Raises `Failure` when the secret is not there."""
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


class HttpSink:
    """POSTs a batch to the client, signed if there is a secret."""

    def __init__(self, url: str, timeout_s: float, secret: bytes | None):
        self._url = url
        self._timeout_s = timeout_s
        self._secret = secret
        self._client = AsyncHTTPClient(force_instance=True, max_body_size=ANSWER_BYTES_MAX)

    async def deliver(self, batch: Batch) -> Delivery:
        """Send a batch once."""
        body = json.dumps(payload(batch), separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": batch.key}
        if self._secret is not None:
            digest = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
            headers["X-Playtally-Signature"] = f"sha256={digest}"
        request = HTTPRequest(
            self._url,
            "POST",
            headers,
            body,
            connect_timeout=self._timeout_s,
            request_timeout=self._timeout_s,
            follow_redirects=False,
        )
        try:
            await self._client.fetch(request)
        except HTTPTimeoutError as error:
            connecting = "connect" in str(error)
            outcome = Outcome.REFUSED if connecting else Outcome.UNKNOWN
            return Delivery(outcome, f"no answer within {self._timeout_s:g} s")
        except HTTPStreamClosedError:
            return Delivery(Outcome.UNKNOWN, "the connection closed before the answer")
        except HTTPError as error:
            unknown = error.code in UNKNOWN_STATUSES or error.code == 599
            why = f"it answered {error.code} {error.message}".rstrip()
            outcome = Outcome.UNKNOWN if unknown else Outcome.REFUSED
            return Delivery(outcome, why, _retry_after_ms(error))
        except OSError as error:
            # Nobody listens, or the name does not resolve: nothing was sent.
            return Delivery(Outcome.REFUSED, error.strerror or str(error))
        except ValueError as error:
            return Delivery(Outcome.UNKNOWN, f"the answer is no HTTP ({error})")
        return Delivery(Outcome.ACCEPTED)


class StdoutSink:
    """Writes a batch as one line of JSON on stdout."""

    async def deliver(self, batch: Batch) -> Delivery:
        """Write the line. Confirmed once the operating system has it."""
        try:
            sys.stdout.write(json.dumps(payload(batch)) + "\n")
            sys.stdout.flush()
        except (OSError, ValueError) as error:
            return Delivery(Outcome.UNKNOWN, f"stdout can't be written ({error})")
        return Delivery(Outcome.ACCEPTED)


class MirroredSink:
    """Another sink, and what it confirmed on stdout too."""

    def __init__(self, sink: Sink):
        self._sink = sink
        self._stdout = StdoutSink()
        self._mirrors = True

    async def deliver(self, batch: Batch) -> Delivery:
        """Send a batch once, and mirror it if it was accepted."""
        delivery = await self._sink.deliver(batch)
        if delivery.outcome is Outcome.ACCEPTED and self._mirrors:
            mirrored = await self._stdout.deliver(batch)
            if mirrored.outcome is not Outcome.ACCEPTED:
                self._mirrors = False
                log.warning("%s; publishes go on to the client only", mirrored.why)
        return delivery


def _retry_after_ms(error: HTTPError) -> int | None:
    """The pause that the client asks for with Retry-After in seconds (RFC 9110, section 10.2.3)."""
    value = error.response.headers.get("Retry-After", "") if error.response else ""
    return min(int(value), RETRY_AFTER_S_MAX) * 1000 if value.isascii() and value.isdigit() else None
