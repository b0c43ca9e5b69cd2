"""pynsq's connection with the handshake that a secured nsqd needs: IDENTIFY, TLS, compression, AUTH.

Promises: with TLS set, nothing but IDENTIFY is ever sent in the clear, and the secret goes only to an nsqd
that asks for it. nsqd answers each upgrade with an OK in the new framing. The stream gives
decompressed bytes, so its reader is the same with and without compression. What no nsqd sends closes the
connection, and `reason` says what it was; pynsq by itself logs a traceback or waits for ever.
"""

import asyncio
import json
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

import nsq
from nsq import protocol
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, SSLIOStream

from ..core.consumer.frames import FRAME_BYTES_MAX, BadStream
from ..system.host_name import host_name
from ..system.reasons import reason_of
from .codecs import Codec, Deflate, Snappy
from .foreign import IN_THE_CLEAR, foreign
from .security import Security, explained, is_refusal, tls_trouble

RAW_BYTES = 64 * 1024  # read at once before they are decoded
_ANSWERS = {protocol.FRAME_TYPE_RESPONSE, protocol.FRAME_TYPE_ERROR}  # pynsq would ignore other types


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
            hostname=host_name(),
            **options,
        )
        self.reason = ""
        self.refused = False
        self._security = security
        self._server_name = server_name.rstrip(".")
        self._tls: asyncio.Future[Any] | None = None  # TLS begins; `stream` can't be used meanwhile

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
        except (OSError, ValueError) as error:
            # The stream keeps its socket if something has come after the answer to IDENTIFY.
            self._refuse(IN_THE_CLEAR if self._has_socket else f"TLS can't begin: {reason_of(error)}")
            if not self._has_socket:
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
        self.refused = self.refused or is_refusal(error)
        return explained(error)

    def lost_because(self) -> str:
        """Return why the connection ended, if we ended it or TLS did; else ""."""
        error = getattr(self.stream, "error", None)
        if not self.reason and isinstance(error, ssl.SSLError):
            self.refused = True
            self.reason = tls_trouble(error)
        return self.reason

    def _refuse(self, why: str) -> None:
        self.refused = True
        self.refuse(why)

    def _on_identify_response(self, data: bytes, **kwargs: object) -> None:
        if data != b"OK" and not _is_object(data):  # an old nsqd says OK
            self.refuse("its answer to IDENTIFY is not a JSON object; expected nsqd's TCP port, often 4150")
        elif lacks := self._security.lacks(data, self.auth_secret):
            self._refuse(lacks)
        else:
            super()._on_identify_response(data=data, **kwargs)

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
            self.reason = self.reason or tls_trouble(error)
            return
        self.stream = began.result()
        self.socket = self.stream.socket
        one_record = self.stream.read_from_fd
        self.stream.read_from_fd = partial(_read_all, one_record)  # type: ignore[method-assign]  # as below
        self._start_read()

    def _decode(self, codec: Codec) -> None:
        # A part of what follows may have come with nsqd's answer: it is in the stream's own buffer.
        buffered = self.stream._read_buffer_size
        arrived = asyncio.ensure_future(self.stream.read_bytes(buffered)).result() if buffered else b""
        self.encoder = codec
        self._read_through(codec, arrived)

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

        self.stream.read_from_fd = read_decoded  # type: ignore[method-assign]  # tornado has no other way

    def _connect_callback(self, fut: "asyncio.Future[IOStream]") -> None:
        # If the connection failed, or ended meanwhile, the close callback handles it; pynsq would raise.
        if fut.exception() is None and not self.stream.closed():
            super()._connect_callback(fut)

    def _start_read(self) -> None:
        # The close callback handles what is closed.
        if self._tls is None and self._has_socket and not self.stream.closed():
            super()._start_read()

    def _read_bytes(self, size: int, callback: "Callable[[asyncio.Future[bytes]], None]") -> None:
        if 4 <= size <= FRAME_BYTES_MAX:
            super()._read_bytes(size, callback)
        else:
            self.refuse(foreign(size.to_bytes(4, signed=True)))

    def _read_body(self, fut: "asyncio.Future[bytes]") -> None:
        if fut.exception() is None:  # else it ended within a frame; pynsq would log a traceback
            super()._read_body(fut)

    def _on_data(self, data: bytes, **kwargs: object) -> None:
        kind = int.from_bytes(data[:4])
        if kind not in _ANSWERS:
            self.refuse(f"a frame of type {kind}, expected an answer: {sorted(_ANSWERS)}")
            return
        try:
            super()._on_data(data, **kwargs)
        except Exception as error:  # noqa: BLE001 - pynsq would swallow it, and wait for ever
            self.refuse(f"an answer that is not understood ({error!r})")


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


def _read_all(
    read: Callable[[bytearray | memoryview], int | None], buf: bytearray | memoryview
) -> int | None:
    """Read every TLS record that is there: by itself, a read gives one, of 16 KiB at most."""
    count = read(buf)
    while count and count < len(buf):
        with memoryview(buf) as whole, whole[count:] as rest:
            try:
                more = read(rest)
            except OSError:
                break  # the next read raises it again
        if not more:  # None: no more for now; 0: the end, which the next read finds again
            break
        count += more
    return count
