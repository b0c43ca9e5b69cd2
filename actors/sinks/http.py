"""The client over HTTP: one POST per batch, and one batch per POST. Several may be on their way at once.

It must tell a batch that was never sent from one that may have been taken (docs/decisions/0008). `route.py`
connects, `connection.py` sends and reads, `answers.py` judges.
"""

import asyncio
import re
import time
from collections.abc import Callable
from typing import NamedTuple

from ..config import ClientSection, Credentials, PublishSection, credentials_of
from ..core.dispatcher.attempts import Outcome
from ..core.dispatcher.outbox import Batch, payload_json
from ..system.watched_files import reload_all
from .answers import Answer, judge
from .connection import ClientConnection
from .delivery import Delivery, Sink
from .echoes import without_echoes
from .packing import Packing
from .route import Route, header_lines
from .signatures import signature_headers
from .troubles import trouble

IDLE_S_MAX = 50.0  # load balancers drop a connection that is idle for a minute, some without a word
IDLE_MARGIN_S = 1.0  # a client that says how long it keeps a connection counts from before we know
KEPT_FOR = re.compile(r"timeout=(\d{1,9})")


class _Exchange(NamedTuple):
    """A request, and what its answer is judged by. `token`: not to be told if the answer quotes it."""

    connection: ClientConnection
    key: str
    request: bytes
    is_packed: bool
    token: str


class HttpSink(Sink):
    """POSTs batches to the client, signed if there is a secret.

    A connection carries one batch at a time, and is kept for the next. A new one is made only if every other
    is busy.
    """

    takes_several = True

    def __init__(self, publish: PublishSection, own: ClientSection | None = None):
        """`own`: see `credentials_of`. Raises `Failure` if a setting can't be used."""
        self._route = Route(publish)
        self._credentials = credentials_of(publish, own)
        self.name, self.receiver = self._route.name, self._route.receiver
        self._head = self._route.request_line + "User-Agent: playtally\r\nContent-Type: application/json\r\n"
        self._timeout_s = publish.timeout_s
        self._signature = publish.signature
        self._packing = Packing(publish.gzip, self.name)
        self._idle: list[tuple[float, ClientConnection]] = []  # until when each is kept; the last used last
        self._closed = False
        # The last answer, if it accepted; the token that it may quote; and what it means.
        self._known: tuple[Answer, str, Delivery] | None = None

    async def deliver(self, batch: Batch, held_up_ms: int = 0) -> Delivery:
        """Send a batch once. Its headers say when it was sent and for how long the client has delayed it."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        ends_s = now_s + self._timeout_s
        try:
            connection = self._take_idle(now_s) or await self._route.connect(ends_s)
        except TimeoutError:
            return Delivery(Outcome.REFUSED, f"no connection within {self._timeout_s:g} s")
        except (OSError, UnicodeError) as error:
            # Connection refused, an unknown name, a certificate that is not trusted.
            return Delivery(Outcome.REFUSED, trouble(error, self._route.host))
        exchange = self._exchange(batch, held_up_ms, now_s, connection)
        try:
            answer: Answer | Exception = await connection.ask(exchange.request, ends_s)
        except (EOFError, OSError, ValueError) as error:
            answer = error
        return self._judged(exchange, answer)

    def begin(self, batch: Batch, held_up_ms: int, done: Callable[[Delivery], None]) -> bool:
        """See `Sink`: on a connection that is kept."""
        now_s = asyncio.get_running_loop().time()
        connection = self._take_idle(now_s)
        if connection is None:
            return False
        exchange = self._exchange(batch, held_up_ms, now_s, connection)
        ends_s = now_s + self._timeout_s
        connection.send(exchange.request, ends_s, lambda answer: done(self._judged(exchange, answer)))
        return True

    def _exchange(
        self, batch: Batch, held_up_ms: int, now_s: float, connection: ClientConnection
    ) -> "_Exchange":
        # From here on the client may have the batch, whatever happens, unless it says that it has not. So the
        # batch is never sent again from here, not even if a kept connection turns out to be closed: the next
        # attempt is the dispatcher's, which counts and paces it.
        credentials = self._credentials.value()
        body = payload_json(batch)
        packed = self._packing.packed(body, now_s)
        more = "Content-Encoding: gzip\r\n" if packed else ""
        request = self._request(batch.key, held_up_ms, more, packed or body, credentials)
        return _Exchange(connection, batch.key, request, packed is not None, credentials.token)

    def _judged(self, exchange: "_Exchange", answer: Answer | Exception) -> Delivery:
        """Return what the answer means for the batch. `answer`: an exception says why none came."""
        if isinstance(answer, TimeoutError):
            return Delivery(Outcome.UNKNOWN, f"no answer within {self._timeout_s:g} s")
        if isinstance(answer, EOFError | OSError):
            return Delivery(Outcome.UNKNOWN, f"no answer: {trouble(answer, self._route.host)}")
        if isinstance(answer, Exception):
            return Delivery(Outcome.UNKNOWN, f"the answer is no HTTP ({answer})")
        now_s = asyncio.get_running_loop().time()
        if answer.keeps:
            self._keep(exchange.connection, answer, now_s)
        token, packed = exchange.token, exchange.is_packed
        known = self._known
        if known is not None and known[0] is answer and known[1] == token and not packed:
            return known[2]
        shown = without_echoes(answer, [token, *self._route.secrets])
        delivery = self._packing.answered(shown, judge(shown), key=exchange.key, packed=packed, now_s=now_s)
        self._known = (answer, token, delivery) if delivery.outcome is Outcome.ACCEPTED else None
        return delivery

    async def reach(self) -> None:
        """Connect, with TLS and proxy, and publish nothing. Raises `OSError`, `TimeoutError`."""
        try:
            connection = await self._route.connect(asyncio.get_running_loop().time() + self._timeout_s)
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:
            raise OSError(trouble(error, self._route.host)) from error
        connection.close()

    def reload(self) -> None:
        """Read secrets, token and certificates again. Raises `Failure`; the old ones stay in force then."""
        reload_all(self._credentials, self._route.tls)

    def close(self) -> None:
        """Close the kept connections."""
        self._closed = True
        while self._idle:
            self._idle.pop()[1].close()

    def _take_idle(self, now_s: float) -> ClientConnection | None:
        """The connection that was used last, so that those that are not needed run out."""
        tls = self._route.tls.value()
        found = None
        while self._idle and found is None:
            ends_s, connection = self._idle.pop()
            if connection.usable and now_s < ends_s and connection.tls is tls:
                found = connection
            else:
                connection.close()
        return found

    def _keep(self, connection: ClientConnection, answer: Answer, now_s: float) -> None:
        kept_s = IDLE_S_MAX
        said = answer.headers.get("keep-alive")
        if said is not None and (hint := KEPT_FOR.search(said)):
            kept_s = min(kept_s, int(hint[1]) - IDLE_MARGIN_S)
        while self._idle and (self._idle[0][0] <= now_s or not self._idle[0][1].usable):
            self._idle.pop(0)[1].close()
        if self._closed or kept_s <= 0:
            connection.close()
        else:
            self._idle.append((now_s + kept_s, connection))

    def _request(self, key: str, held_up_ms: int, more: str, body: bytes, credentials: Credentials) -> bytes:
        """The request with this body. `more`: header lines about the body."""
        now_ns = time.time_ns()
        if held_up_ms:
            more += f"X-Playtally-Held-Up-Ms: {held_up_ms}\r\n"
        if authorization := f"Bearer {credentials.token}" if credentials.token else self._route.authorization:
            more += f"Authorization: {authorization}\r\n"
        if credentials.secrets:
            now_s = now_ns // 1_000_000_000
            more += header_lines(signature_headers(self._signature, credentials.secrets, key, body, now_s))
        head = (
            f"{self._head}Idempotency-Key: {key}\r\nX-Playtally-Sent-At-Ms: {now_ns // 1_000_000}\r\n"
            f"{more}Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body
