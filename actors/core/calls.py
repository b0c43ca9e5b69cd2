"""What commands have consumer and dispatcher do, and the answers. Supervision carries it as bytes. Pure."""

from typing import TypeAlias

import msgspec
from msgspec import Struct

REPUBLISH_VIDEOS_MAX = 400  # so that a request fits into the body that admin takes


class RepublishCall(Struct, frozen=True, array_like=True, tag="republish"):
    """Tell the client totals again: of these videos (16-byte GUIDs, packed), or of all if it is empty."""

    videos: bytes


class Orders(Struct, frozen=True, array_like=True, tag="orders"):
    """What a child holds to until the next start of the service, each incarnation from its first moment.

    `paused`: whether the consumer asks for no messages, or the dispatcher publishes nothing. `values`: by
    "section.key", what was set while the service runs, in place of the settings' values.
    """

    paused: bool = False
    values: dict[str, int | float] = {}


class Answer(Struct, frozen=True, array_like=True):
    """What was done, in words; or why not, if `refused`."""

    text: str
    refused: bool = False


Request: TypeAlias = RepublishCall | Orders


def encode(message: Request | Answer) -> bytes:
    """A request or an answer as bytes."""
    return msgspec.msgpack.encode(message)


def decode_call(data: bytes) -> Request:
    """A request from bytes. Raises `msgspec.DecodeError`."""
    request: Request = msgspec.msgpack.decode(data, type=Request)
    return request


def decode_orders(data: bytes) -> Orders:
    """The orders that a child is started with, from bytes; b"" for none. Raises `msgspec.DecodeError`."""
    return msgspec.msgpack.decode(data, type=Orders) if data else Orders()


def decode_answer(data: bytes) -> Answer:
    """An answer from bytes. Raises `msgspec.DecodeError`."""
    return msgspec.msgpack.decode(data, type=Answer)
