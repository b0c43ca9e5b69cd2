"""Message bodies: which are plays, of which video; and what is wrong with the others.

Pure. A play is a JSON object whose `video_id` is a GUID in any of its forms; other keys are ignored,
as senders add some. The same bodies come again and again, so what a body means is remembered, for a
bounded number of bodies.
"""

import base64
import json

import msgspec

from . import guids

REMEMBERED_BODIES_MAX = 65_536
REMEMBERED_BODY_BYTES_MAX = 256
LETTER_BYTES_MAX = 1024 * 1024  # nsqd's max-msg-size, unless set otherwise
LETTER_PART_BYTES = 512 * 1024  # so that with base64 a part fits into that


class NotAPlay(ValueError):
    """A body that is no play; the text is the reason."""


class _Play(msgspec.Struct):
    video_id: str


_decoder = msgspec.json.Decoder(_Play)


def decode(body: bytes) -> bytes:
    """The video, 16 bytes, that a body says was played. Raises `NotAPlay` with the reason."""
    try:
        return guids.parse(_decoder.decode(body).video_id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotAPlay(_reason(body)) from None
    except ValueError:
        raise NotAPlay("video_id is not a GUID") from None


class Bodies:
    """A memory of what bodies mean. A body that is no play means None."""

    def __init__(self) -> None:
        self._videos: dict[bytes, bytes | None] = {}

    def video(self, body: bytes) -> bytes | None:
        """The video that a body says was played, or None when it is no play."""
        try:
            return self._videos[body]
        except KeyError:
            return self._learn(body)

    def _learn(self, body: bytes) -> bytes | None:
        try:
            video = decode(body)
        except NotAPlay:
            return None
        if len(body) <= REMEMBERED_BODY_BYTES_MAX:
            if len(self._videos) >= REMEMBERED_BODIES_MAX:
                self._videos.clear()
            self._videos[body] = video
        return video


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
        _json(
            facts
            | {"part": number, "parts": len(parts), "body_base64": base64.b64encode(part).decode()}
        )
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
