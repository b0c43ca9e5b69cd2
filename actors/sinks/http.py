"""The client over HTTP: one POST per batch.

Written on plain streams, because it must tell a batch that was never sent from one that may have been taken.
Tornado's simple client reports the same error for both (docs/decisions/0008). `route.py` connects,
`answers.py` reads and judges the answer.
"""

import asyncio
import contextlib
import gzip
import hashlib
import hmac
import json
import time

from ..config import PublishSection
from ..core.dispatcher.attempts import Outcome
from ..core.dispatcher.outbox import Batch, payload
from .answers import NothingCame, accepts_gzip, judge, read_answer
from .delivery import Delivery, Sink
from .route import Route, SinkConnection, reason_of

GZIP_BYTES_MIN = 500  # a body below this fits into one packet as it is
UNSUPPORTED_MEDIA_TYPE = 415


class HttpSink(Sink):
    """POSTs batches to the client, signed if there is a secret, and keeps the connection."""

    def __init__(self, publish: PublishSection, secret: bytes | None = None):
        """Raises `Failure` if a setting can't be used."""
        self._route = Route(publish)
        self.name = self._route.name
        self._timeout_s = publish.timeout_s
        self._secret = secret
        self._gzip = publish.gzip
        self._gzip_accepted = False
        self._kept: SinkConnection | None = None

    async def deliver(self, batch: Batch, held_up_ms: int = 0) -> Delivery:
        """Send a batch once. Its headers say when it was sent and for how long the client has delayed it."""
        ends_s = asyncio.get_running_loop().time() + self._timeout_s
        request = self._request(batch, held_up_ms)
        kept, self._kept = self._kept, None
        if kept is not None:
            if kept.usable:
                with contextlib.suppress(NothingCame):
                    return await self._exchange(kept, request, ends_s)
            kept.close()
            # The client closed it meanwhile, maybe after it took the batch. Its key makes it safe to send it
            # again (RFC 9110, section 9.2.2, allows that for idempotent requests).
        try:
            async with asyncio.timeout_at(ends_s):
                fresh = await self._route.connect()
        except TimeoutError:
            outcome = Outcome.UNKNOWN if kept else Outcome.REFUSED
            return Delivery(outcome, f"no connection within {self._timeout_s:g} s")
        except (OSError, UnicodeError) as error:
            # Connection refused, an unknown name, a certificate that is not trusted.
            return Delivery(Outcome.UNKNOWN if kept else Outcome.REFUSED, reason_of(error))
        try:
            return await self._exchange(fresh, request, ends_s)
        except NothingCame as error:
            return Delivery(Outcome.UNKNOWN, f"no answer: {reason_of(error)}")

    async def reach(self) -> None:
        """Connect, with TLS and proxy, and publish nothing. Raises `OSError`, `TimeoutError`."""
        try:
            (await self._route.connect()).close()
        except OSError as error:
            raise OSError(reason_of(error)) from error

    def reload(self) -> None:
        """Read `publish.ca_file` again, for every connection from now on."""
        self._route.reload()
        self.close()
        self._kept = None

    def close(self) -> None:
        """Close the kept connection."""
        if self._kept is not None:
            self._kept.close()

    async def _exchange(self, connection: SinkConnection, request: bytes, ends_s: float) -> Delivery:
        """Send, and judge the answer. Raises `NothingCame`."""
        # From here on the client may have the batch, whatever happens, unless it says that it has not.
        try:
            connection.writer.write(request)
            answer = await read_answer(connection.reader, ends_s)
            if answer.keeps:
                self._kept = connection
            said = accepts_gzip(answer.headers)
            if said is not None or answer.status == UNSUPPORTED_MEDIA_TYPE:
                self._gzip_accepted = bool(said) and answer.status != UNSUPPORTED_MEDIA_TYPE
            return judge(answer)
        except NothingCame:
            raise
        except TimeoutError:
            return Delivery(Outcome.UNKNOWN, f"no answer within {self._timeout_s:g} s")
        except (EOFError, OSError) as error:
            return Delivery(Outcome.UNKNOWN, f"no answer: {reason_of(error)}")
        except ValueError as error:
            return Delivery(Outcome.UNKNOWN, f"the answer is no HTTP ({error})")
        finally:
            if self._kept is not connection:
                connection.close()

    def _request(self, batch: Batch, held_up_ms: int) -> bytes:
        body = json.dumps(payload(batch), separators=(",", ":")).encode()
        headers = {
            **self._route.headers,
            "User-Agent": "playtally",
            "Content-Type": "application/json",
            "Idempotency-Key": batch.key,
            "X-Playtally-Sent-At-Ms": str(time.time_ns() // 1_000_000),
        }
        if held_up_ms:
            headers["X-Playtally-Held-Up-Ms"] = str(held_up_ms)
        if self._gzip and self._gzip_accepted and len(body) >= GZIP_BYTES_MIN:
            body = gzip.compress(body, mtime=0)
            headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(body))
        if self._secret is not None:
            # Signed are the bytes that travel: a client can check them before it unpacks anything.
            digest = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
            headers["X-Playtally-Signature"] = f"sha256={digest}"
        lines = [f"POST {self._route.target} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
        return "\r\n".join([*lines, "", ""]).encode() + body
