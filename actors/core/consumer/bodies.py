"""Message bodies: which are plays, of which video; and what is wrong with the others.

Pure. A play is a JSON object whose `video_id` is a GUID in any of its forms; other keys are ignored,
as senders add some.
"""

import base64
import contextlib
import json

import msgspec

from .. import guids
from .templates import Shape

LETTER_BYTES_MAX = 1024 * 1024  # nsqd's max-msg-size, unless set otherwise
SHAPES_MAX = 256
SHAPED_BODY_BYTES_MAX = 4096
LETTER_PART_BYTES = 512 * 1024  # so that with base64 a part fits into that


class NotAPlay(ValueError):
    """A body that is no play; the text is the reason."""


class _Play(msgspec.Struct):
    video_id: str


_decoder = msgspec.json.Decoder(_Play)


def decode(body: bytes) -> bytes:
    """The video, 16 bytes, that a body says was played. Raises `NotAPlay` with the reason."""
    try:
        body.decode("utf-8")  # the decoder does not look at what it skips
        return guids.parse(_decoder.decode(body).video_id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotAPlay(_reason(body)) from None
    except ValueError:
        raise NotAPlay("video_id is not a GUID") from None


class Bodies:
    """Reads bodies. Most are alike but for the GUID, so one that has the shape of the last of its size that
    was decoded is read without decoding.
    """

    def __init__(self) -> None:
        self._shapes: dict[int, Shape] = {}

    def video(self, body: bytes) -> bytes | None:
        """The video that a body says was played, or None when it is no play."""
        shape = self._shapes.get(len(body))
        video = shape and shape.video(body)
        if not video:
            try:
                video = decode(body)
            except NotAPlay:
                return None
            if len(body) <= SHAPED_BODY_BYTES_MAX:
                self._remember_shape(body, video)
        return video

    def videos(self, data: bytes, at: int, size: int, stride: int, count: int) -> bytes | None:
        """The videos of so many bodies of one size, 16 bytes each; None when one has to be looked at alone.

        The first body begins at `at`, at least 8 bytes from the start of `data`; the next `stride` bytes on.
        """
        shape = self._shapes.get(size)
        return None if shape is None else shape.videos(data, at, stride, count)

    def _remember_shape(self, body: bytes, video: bytes) -> None:
        text = guids.text(video).encode()
        at = body.lower().find(text)
        if at < 0:
            return
        head, tail = body[:at], body[at + len(text) :]
        # The same GUID may stand there under another key: with another one here, it has to be another.
        other = bytes(255 - byte for byte in video)
        with contextlib.suppress(NotAPlay):
            if decode(head + guids.text(other).encode() + tail) == other:
                if len(self._shapes) >= SHAPES_MAX:
                    self._shapes.clear()
                self._shapes[len(body)] = Shape(head, tail)


def reason(body: bytes) -> str:
    """Why a body is no play."""
    try:
        decode(body)
    except NotAPlay as why:
        return str(why)
    raise ValueError("it is a play")


def dead_letters(body: bytes, source: str, message_id: str, arrived_ns: int, why: str) -> list[bytes]:
    """What to put on the dead-letter topic for a body: JSON with the reason, in parts if it is large.

    `body` in it is the text; `body_base64` where it is not UTF-8, was cut into parts, or would be too
    large with its control characters escaped: nsqd closes the connection on a message that is.
    """
    facts = {"reason": why, "source": source, "id": message_id, "arrived_at_ns": arrived_ns}
    parts = [body[at : at + LETTER_PART_BYTES] for at in range(0, len(body), LETTER_PART_BYTES)]
    if len(parts) <= 1:
        letter = _text_letter(facts, body)
        return [letter or _json(facts | {"body_base64": base64.b64encode(body).decode()})]
    return [
        _json(facts | {"part": number, "parts": len(parts), "body_base64": base64.b64encode(part).decode()})
        for number, part in enumerate(parts, 1)
    ]


def _text_letter(facts: dict[str, object], body: bytes) -> bytes | None:
    try:
        letter = _json(facts | {"body": body.decode("utf-8")})
    except UnicodeDecodeError:
        return None
    return letter if len(letter) <= LETTER_BYTES_MAX else None


def _json(facts: dict[str, object]) -> bytes:
    return json.dumps(facts, ensure_ascii=False).encode()


def _reason(body: bytes) -> str:
    if not body:
        return "the body is empty"
    # Values stay raw: a number that no machine holds is JSON all the same.
    try:
        body.decode("utf-8")
        msgspec.json.decode(body, type=msgspec.Raw)
        value = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        return "the body is not a JSON object"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "the body is not JSON"
    if "video_id" not in value:
        return "the object has no video_id"
    return "video_id is not a text"
