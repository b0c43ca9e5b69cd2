"""One POST a batch.

Written on plain streams because it has to tell what was never sent from what may have been taken:
tornado's simple client says the same of both (docs/decisions/0008). How the client is reached is
`route.py`'s, what it answers `answers.py`'s.
"""

import asyncio
import contextlib
import gzip
import hashlib
import hmac
import json

from ..config import Publish
from ..core.dispatcher.attempts import Outcome
from ..core.dispatcher.outbox import Batch, payload
from .answers import NothingCame, accepts_gzip, judge, read_answer
from .delivery import Delivery
from .route import Connection, Route, reason_of

GZIP_BYTES_MIN = 500  # a body below this fits into one packet as it is
UNSUPPORTED_MEDIA_TYPE = 415


class HttpSink:
    """POSTs a batch to the client, signed if there is a secret; the connection is kept for the next."""

    def __init__(self, publish: Publish, secret: bytes | None = None):
        """Raises `Failure` when the settings can't be followed."""
        self._route = Route(publish)
        self.name = self._route.name
        self._timeout_s = publish.timeout_s
        self._secret = secret
        self._gzip = publish.gzip
        self._gzip_accepted = False
        self._kept: Connection | None = None
        self._failing_since_s: float | None = None

    async def deliver(self, batch: Batch) -> Delivery:
        """Send a batch once."""
        started_s = asyncio.get_running_loop().time()
        delivery = await self._deliver(batch)
        if delivery.outcome is Outcome.ACCEPTED:
            self._failing_since_s = None
        elif self._failing_since_s is None:
            self._failing_since_s = started_s
        return delivery

    async def _deliver(self, batch: Batch) -> Delivery:
        ends_s = asyncio.get_running_loop().time() + self._timeout_s
        request = self._request(batch)
        kept, self._kept = self._kept, None
        if kept is not None:
            if kept.usable:
                with contextlib.suppress(NothingCame):
                    return await self._exchange(kept, request, ends_s)
            kept.close()
            # The client had closed it meanwhile. Whether it took the batch first is not known; the key
            # makes sending it again safe (RFC 9110, section 9.2.2, allows that for what is idempotent).
        try:
            async with asyncio.timeout_at(ends_s):
                fresh = await self._route.connect()
        except TimeoutError:
            outcome = Outcome.UNKNOWN if kept else Outcome.REFUSED
            return Delivery(outcome, f"no connection within {self._timeout_s:g} s")
        except (OSError, UnicodeError) as error:
            # Nobody listens, the name does not resolve, the certificate is not trusted.
            return Delivery(Outcome.UNKNOWN if kept else Outcome.REFUSED, reason_of(error))
        try:
            return await self._exchange(fresh, request, ends_s)
        except NothingCame as error:
            return Delivery(Outcome.UNKNOWN, f"no answer: {reason_of(error)}")

    async def reach(self) -> None:
        """Connect, TLS and proxy included, and publish nothing."""
        try:
            (await self._route.connect()).close()
        except OSError as error:
            raise OSError(reason_of(error)) from error

    async def flush(self, timeout_s: float) -> None:
        """Nothing: what was delivered has been answered."""

    def close(self) -> None:
        """Close the connection that is kept."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    async def _exchange(self, connection: Connection, request: bytes, ends_s: float) -> Delivery:
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

    def _request(self, batch: Batch) -> bytes:
        body = json.dumps(payload(batch), separators=(",", ":")).encode()
        headers = {
            **self._route.headers,
            "User-Agent": "playtally",
            "Content-Type": "application/json",
            "Idempotency-Key": batch.key,
        }
        if self._failing_since_s is not None:
            held_up_s = asyncio.get_running_loop().time() - self._failing_since_s
            headers["X-Playtally-Held-Up-Ms"] = str(int(held_up_s * 1000))
        if self._gzip and self._gzip_accepted and len(body) >= GZIP_BYTES_MIN:
            body = gzip.compress(body, mtime=0)
            headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(body))
        if self._secret is not None:
            # Of the bytes as they travel: a client can check them before it unpacks anything.
            digest = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
            headers["X-Playtally-Signature"] = f"sha256={digest}"
        lines = [f"POST {self._route.target} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
        return "\r\n".join([*lines, "", ""]).encode() + body
