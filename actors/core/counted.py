"""What the service tells the reference client, which sees publishes only: how many plays it counted. Pure."""

import msgspec
from msgspec import Struct


class CountedCall(Struct, frozen=True, array_like=True):
    """The plays in all ledgers."""

    plays: int


def encode(message: CountedCall) -> bytes:
    """The message as bytes."""
    return msgspec.msgpack.encode(message)


def decode(data: bytes) -> CountedCall:
    """The message from bytes. Raises `msgspec.DecodeError`."""
    return msgspec.msgpack.decode(data, type=CountedCall)
