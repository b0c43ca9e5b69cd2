"""The requests of commands to the dispatcher, and its answers. Supervision carries them as bytes. Pure."""

import msgspec
from msgspec import Struct

REPUBLISH_VIDEOS_MAX = 400  # so that a request fits into the body that admin takes


class RepublishCall(Struct, frozen=True, array_like=True):
    """Tell the client totals again: of these videos (16-byte GUIDs, packed), or of all if it is empty."""

    videos: bytes


class Answer(Struct, frozen=True, array_like=True):
    """What was done, in words; or why not, if `refused`."""

    text: str
    refused: bool = False


def encode(message: RepublishCall | Answer) -> bytes:
    """A request or an answer as bytes."""
    return msgspec.msgpack.encode(message)


def decode_call(data: bytes) -> RepublishCall:
    """A request from bytes. Raises `msgspec.DecodeError`."""
    return msgspec.msgpack.decode(data, type=RepublishCall)


def decode_answer(data: bytes) -> Answer:
    """An answer from bytes. Raises `msgspec.DecodeError`."""
    return msgspec.msgpack.decode(data, type=Answer)
