"""A plain client of one nsqd on asyncio's streams, one question after the other, where no speed is needed.

pynsq's Writer does not tell what was never sent from what may have been taken, so this is written on streams.
It speaks TLS, compression and AUTH as `Security` says, and promises of them what `handshake.py` does.
"""

import asyncio
import ssl
import struct
from collections.abc import Mapping
from typing import Self

from nsq import protocol

from ..core.consumer.frames import BadStream
from ..system.addresses import split_address
from ..system.unread import has_unread
from .codecs import DEFLATE_LEVEL, Codec, Deflate, Snappy
from .dialing import dial
from .foreign import IN_THE_CLEAR, foreign
from .places import Place, ends_of, place_of
from .security import Refused, Security, agreed_in, explained, is_refusal, tls_trouble

FRAME_BYTES_MAX = 1024 * 1024  # far above any answer that is asked for
_READ_BYTES = 64 * 1024


class NsqdError(ValueError):
    """nsqd answered with an error. `told`: its words."""

    def __init__(self, told: bytes):
        super().__init__(explained(told))
        self.told = told


class NsqdClient:
    """A connection to the nsqd at `address`. `agreed`: nsqd's answer to IDENTIFY, JSON."""

    def __init__(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.address = address
        self.agreed = b""
        self._reader = reader
        self._writer = writer
        self._codec: Codec | None = None
        self._arrived = bytearray()

    @classmethod
    async def open(cls, address: str, security: Security, identity: Mapping[str, object]) -> Self:
        """Connect, IDENTIFY, and do what `security` asks for.

        `identity`: more for IDENTIFY. Raises `OSError`, `EOFError` or `ValueError`; `Refused` if TLS or AUTH
        failed. May be cancelled.
        """
        host, port = split_address(address)
        client = cls(address, *await dial(host, port))
        try:
            await client._greet(host, security, identity)
        except BaseException:
            client.close()
            raise
        return client

    @property
    def usable(self) -> bool:
        """Whether it is open, and holds no bytes that would be taken for the answer to another question.

        Ask with no await before the next `write`.
        """
        unasked = self._arrived or self._reader._buffer  # type: ignore[attr-defined]  # no other way to peek
        ended = self._reader.at_eof() or self._writer.is_closing()
        return not (unasked or ended or has_unread(self._writer.transport))

    def place(self) -> Place | None:
        """Where the connection leads; None if it has ended. Reads files if that is this machine."""
        ends = ends_of(self._writer.get_extra_info("socket"))
        return None if ends is None else place_of(*ends)

    def write(self, command: bytes) -> None:
        """Send this, some time."""
        self._writer.write(self._codec.encode(command) if self._codec else command)

    async def read_frame(self) -> tuple[int, bytes]:
        """Read one frame: its type and its data. Raises `EOFError`, `OSError`, `ValueError`."""
        head = await self._read(4)
        size = int.from_bytes(head)
        if not 4 <= size <= FRAME_BYTES_MAX:
            raise ValueError(foreign(head))
        kind, told = struct.unpack(f">l{size - 4}s", await self._read(size))
        return kind, told

    def close(self) -> None:
        """Close it at once."""
        self._writer.transport.abort()

    async def _greet(self, host: str, security: Security, identity: Mapping[str, object]) -> None:
        secret = security.auth_secret()
        asked = {
            "client_id": "playtally",
            "user_agent": "playtally",
            "feature_negotiation": True,
            "tls_v1": security.tls,
            "snappy": security.compression == "snappy",
            "deflate": security.compression == "deflate",
            "deflate_level": DEFLATE_LEVEL,
        }
        self.write(protocol.MAGIC_V2 + protocol.identify(asked | dict(identity)))
        self.agreed = await self._answer()
        if lacks := security.lacks(self.agreed, secret):
            raise Refused(lacks)
        if security.tls:
            await self._begin_tls(host, security)
        agreed = agreed_in(self.agreed)
        if security.compression and agreed.get(security.compression):
            await self._begin(Snappy() if security.compression == "snappy" else Deflate())
        if secret and agreed.get("auth_required"):
            self.write(protocol.auth(secret))
            _ = await self._answer()

    async def _begin_tls(self, host: str, security: Security) -> None:
        if not self.usable:
            raise Refused(IN_THE_CLEAR)
        context = security.nsqd_tls()
        assert context is not None, "nsq.tls is set"
        try:
            await self._writer.start_tls(context, server_hostname=host.rstrip("."))
        except (OSError, EOFError) as error:
            raise Refused(tls_trouble(error)) from error
        _ = await self._answer()

    async def _begin(self, codec: Codec) -> None:
        arrived, self._arrived = bytes(self._arrived), bytearray()
        self._codec = codec
        self._take(arrived)
        _ = await self._answer()

    async def _answer(self) -> bytes:
        """Read the answer to a part of the greeting. Raises as `read_frame`, and `Refused`."""
        kind, told = await self.read_frame()
        if kind != protocol.FRAME_TYPE_RESPONSE:
            raise Refused(explained(told)) if is_refusal(told) else NsqdError(told)
        return told

    async def _read(self, count: int) -> bytes:
        while len(self._arrived) < count:
            try:
                arrived = await self._reader.read(_READ_BYTES)
            except ssl.SSLError as error:
                raise Refused(tls_trouble(error)) from error
            if not arrived:
                raise EOFError("it closed the connection")
            self._take(arrived)
        taken = bytes(self._arrived[:count])
        del self._arrived[:count]
        return taken

    def _take(self, arrived: bytes) -> None:
        if self._codec is None:
            self._arrived += arrived
            return
        try:
            self._codec.feed(memoryview(arrived))
            while piece := self._codec.take(_READ_BYTES):
                self._arrived += piece
        except BadStream as error:
            raise ValueError(str(error)) from error
