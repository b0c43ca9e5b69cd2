"""nsqd's compressed streams, in both directions. Pure of I/O: the caller reads and writes.

A decoder takes the bytes of a read, and gives what they stand for in pieces of a bounded size.
"""

import zlib
from typing import Protocol

import cramjam

from ..core.consumer.frames import BadStream

DEFLATE_LEVEL = 6  # nsqd's own default, and the most that it allows by default
# Snappy's framing format, as google/snappy's framing_format.txt has it
_STREAM = b"\xff\x06\x00\x00sNaPpY"
_HEAD_BYTES = 4  # of a chunk: its kind, and its length in three bytes
# A chunk stands for 64 KiB at most. Compressed, those may be longer by a sixth. Before them is a checksum.
_CHUNK_BYTES_MAX = 4 + 32 + 65536 + 65536 // 6


class Codec(Protocol):
    """The compression of one connection."""

    def encode(self, content: bytes) -> bytes:
        """Return what to write for `content`. The other end can decode all of it at once."""

    def feed(self, arrived: memoryview) -> None:
        """Take bytes that arrived. Raises `BadStream`."""

    def take(self, bytes_max: int) -> bytes:
        """Return the next decoded bytes; b"" when more has to arrive first. Raises `BadStream`."""


class Snappy:
    """Snappy's framing format. Each chunk has a checksum, which is checked."""

    def __init__(self) -> None:
        self._begun = False
        self._rest = b""  # of a chunk that is not whole
        self._decoded = memoryview(b"")

    def encode(self, content: bytes) -> bytes:
        """See `Codec`."""
        encoded = bytes(cramjam.snappy.compress(content))
        begun, self._begun = self._begun, True
        return encoded[len(_STREAM) :] if begun else encoded

    def feed(self, arrived: memoryview) -> None:
        """See `Codec`. All whole chunks are decoded in one call."""
        chunks = self._rest + arrived
        end = _end_of_whole(chunks)
        self._rest = chunks[end:]
        if not end:
            return
        try:
            decoded = memoryview(cramjam.snappy.decompress(_STREAM + chunks[:end]))
        except cramjam.DecompressionError as error:
            raise BadStream(f"not what snappy makes ({error})") from None
        self._decoded = memoryview(bytes(self._decoded) + decoded) if self._decoded else decoded

    def take(self, bytes_max: int) -> bytes:
        """See `Codec`."""
        taken, self._decoded = bytes(self._decoded[:bytes_max]), self._decoded[bytes_max:]
        return taken


class Deflate:
    """A raw deflate stream (RFC 1951)."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
        self._waiting = b""
        self._has_more = False  # inside zlib, although nothing waits

    def encode(self, content: bytes) -> bytes:
        """See `Codec`."""
        return self._compressor.compress(content) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def feed(self, arrived: memoryview) -> None:
        """See `Codec`."""
        if self._decompressor.eof:
            raise BadStream("bytes after the end of what deflate made")
        self._waiting += arrived

    def take(self, bytes_max: int) -> bytes:
        """See `Codec`."""
        if not (self._waiting or self._has_more):
            return b""
        try:
            taken = self._decompressor.decompress(self._waiting, bytes_max)
        except zlib.error as error:
            raise BadStream(f"not what deflate makes ({error})") from None
        self._waiting = self._decompressor.unconsumed_tail
        self._has_more = len(taken) == bytes_max
        return taken


def codec_of(compression: str) -> Codec:
    """Return a new codec for a value of `nsq.compression` that is not ""."""
    return Snappy() if compression == "snappy" else Deflate()


def _end_of_whole(chunks: bytes) -> int:
    """Return where the last whole chunk ends. Raises `BadStream`."""
    end = 0
    while len(chunks) - end >= _HEAD_BYTES:
        size = int.from_bytes(chunks[end + 1 : end + _HEAD_BYTES], "little")
        if size > _CHUNK_BYTES_MAX:
            raise BadStream(f"a chunk of {size} bytes, expected at most {_CHUNK_BYTES_MAX}: not snappy")
        if len(chunks) - end < _HEAD_BYTES + size:
            break
        end += _HEAD_BYTES + size
    return end
