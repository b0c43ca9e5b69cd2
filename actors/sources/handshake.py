"""pynsq's connection with the handshake that a secured nsqd needs: IDENTIFY, TLS, compression, AUTH.

Promises: with TLS set, nothing but IDENTIFY is ever sent in the clear, and the secret goes only to an nsqd
that asks for it. nsqd answers each upgrade with an OK in the new framing. Decompressed bytes take the place
of those of the socket, so whoever reads the stream sees no difference.
"""

import asyncio
import contextlib
import json
import ssl
from functools import partial
from typing import Any

import nsq
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from ..core.consumer.frames import BadStream
from ..system.tls import tls_reason
from .codecs import Codec, Deflate, Snappy
from .security import Security

RAW_BYTES = 64 * 1024  # read at once before they are decoded
BUFFERED_BYTES_MAX = 1024 * 1024  # far above what a stream reads ahead
_REFUSALS = (b"E_AUTH", b"E_UNAUTHORIZED")


class Refused(OSError):
    """TLS or AUTH failed: there is an nsqd, and it is not used as it is."""


class SecuredConnection(nsq.AsyncConn):
    """One connection to an nsqd, as `Security` says. `reason`: why it ended, if that is known.

    `refused`: whether it ended because of TLS or AUTH.
    """

    def __init__(self, host: str, port: int, security: Security, server_name: str, **options: Any):
        """`host`: where to connect to. `server_name`: the name in nsqd's certificate."""
        super().__init__(
            host,
            port,
            tls_v1=security.tls,
            snappy=security.compression == "snappy",
            deflate=security.compression == "deflate",
            auth_secret=security.auth_secret() or None,
            **options,
        )
        self.reason = ""
        self.refused = False
        self._security = security
        self._server_name = server_name.rstrip(".")
        self._tls: asyncio.Future[Any] | None = None  # TLS begins; `stream` can't be used meanwhile
        self._reads_first = False  # compression begins

    def refuse(self, why: str) -> None:
        """Close a connection whose other end does not do what is expected. The first reason is kept."""
        self.reason = self.reason or why
        self.close()

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._tls is not None:
            self._tls.cancel()  # tornado closes the stream that would come of it
        elif self._has_socket:
            super().close()

    @property
    def compressed(self) -> bool:
        """Whether nsqd has agreed to compression."""
        return isinstance(self.encoder, Snappy | Deflate)

    def upgrade_to_tls(self, options: object = None) -> None:
        """Begin TLS. pynsq calls this when nsqd has agreed to it."""
        try:
            self._tls = self.stream.start_tls(False, self._security.nsqd_tls(), self._server_name)
        except (OSError, ValueError) as error:  # as bytes in the clear after the answer to IDENTIFY
            self._refuse(f"TLS can't begin: {error}")
            if not self._has_socket:  # it was taken from the stream already
                self.socket.close()
                self._socket_close()
        else:
            IOLoop.current().add_future(self._tls, self._on_tls)

    def upgrade_to_snappy(self) -> None:
        """Decode from now on. pynsq calls this when nsqd has agreed to it."""
        self._decode(Snappy())

    def upgrade_to_deflate(self) -> None:
        """Decode from now on. pynsq calls this when nsqd has agreed to it."""
        self._decode(Deflate())

    def explain(self, error: bytes) -> str:
        """Return an error of nsqd's in words, and what to do about it. Notes if it is about TLS or AUTH."""
        self.refused = self.refused or error.startswith(_REFUSALS) or b"(TLS required)" in error
        told = f"nsqd says {error[:300].decode(errors='replace')}"
        if b"(TLS required)" in error:
            return f"{told}: set nsq.tls = true"
        if error.startswith(_REFUSALS):
            return f"{told}: see nsq.auth_secret_env and nsq.auth_secret_file"
        return told

    def lost_because(self) -> str:
        """Return why the connection ended."""
        error = getattr(self.stream, "error", None)
        if not self.reason and isinstance(error, ssl.SSLError):
            self.refused = True
            self.reason = _tls_trouble(error)
        return self.reason or str(error or "the other end closed the connection")

    def _refuse(self, why: str) -> None:
        self.refused = True
        self.refuse(why)

    def _on_identify_response(self, data: bytes, **kwargs: object) -> None:
        if lacks := self._lacks(data):
            self._refuse(lacks)
        else:
            super()._on_identify_response(data=data, **kwargs)

    def _lacks(self, answer: bytes) -> str:
        """Return what is asked for and not in nsqd's answer to IDENTIFY, in words."""
        try:
            agreed = json.loads(answer) if answer != b"OK" else {}
        except ValueError:
            return ""  # pynsq says so
        if not isinstance(agreed, dict):
            return ""
        if self._security.tls and agreed.get("tls_v1") is not True:
            return "it has no TLS, and nsq.tls = true: nothing more was sent to it"
        if agreed.get("auth_required") and not self.auth_secret:
            return "it asks for AUTH: set nsq.auth_secret_env or nsq.auth_secret_file"
        return ""

    def _on_response_continue(self, data: bytes | None, **kwargs: object) -> None:
        if not self.stream.closed():
            super()._on_response_continue(data=data, **kwargs)

    @property
    def _has_socket(self) -> bool:
        stream: IOStream | None = self.stream  # None before `connect`
        return stream is not None and stream.socket is not None

    def _on_tls(self, began: "asyncio.Future[SSLIOStream]") -> None:
        self._tls = None
        if began.cancelled():
            return  # the close callback follows
        if error := began.exception():
            self.refused = True
            self.reason = self.reason or _tls_trouble(error)
            return
        self.stream = began.result()
        self.socket = self.stream.socket
        self._start_read()

    def _decode(self, codec: Codec) -> None:
        # nsqd sends an OK at once, so that bytes come. A part of them may have come with its answer.
        self._reads_first = True
        with contextlib.suppress(StreamClosedError):  # the close callback follows
            first = asyncio.ensure_future(self.stream.read_bytes(BUFFERED_BYTES_MAX, partial=True))
            IOLoop.current().add_future(first, partial(self._on_first, codec))

    def _on_first(self, codec: Codec, first: "asyncio.Future[bytes]") -> None:
        self._reads_first = False
        if first.exception() is None:  # else the close callback follows
            self.encoder = codec
            self._read_through(codec, first.result())
            self._start_read()

    def _read_through(self, codec: Codec, arrived: bytes) -> None:
        """Decode what the stream reads from its socket. `arrived`: what was read already."""
        read, raw = self.stream.read_from_fd, bytearray(RAW_BYTES)
        waiting = memoryview(arrived)

        def read_decoded(buf: bytearray | memoryview) -> int | None:
            nonlocal waiting
            try:
                while True:
                    codec.feed(waiting)
                    waiting = memoryview(b"")
                    if taken := codec.take(len(buf)):
                        buf[: len(taken)] = taken
                        return len(taken)
                    count: int | None = read(raw)
                    if not count:  # None: nothing to read; 0: the end
                        return count
                    waiting = memoryview(raw)[:count]
            except BadStream as error:
                self.refuse(str(error))
                return None

        self.stream.read_from_fd = read_decoded  # type: ignore[method-assign]

    def _start_read(self) -> None:
        if self._tls is None and not self._reads_first and self._has_socket:
            super()._start_read()


def _tls_trouble(error: BaseException) -> str:
    """Return why TLS with nsqd failed, and what to do."""
    why = tls_reason(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{why}; see nsq.tls_ca_file and nsq.tls_server_name"
    if isinstance(error, ssl.SSLError) and "CERTIFICATE" in (error.reason or ""):
        return f"{why}; it wants a certificate of ours, or another: see nsq.tls_cert_file"
    return why if isinstance(error, ssl.SSLError) else "it ended the connection when TLS was to begin"
