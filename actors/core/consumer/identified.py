"""Reads bodies whose plays have an identity of their own: the text of the key that `nsq.play_id` names.

Pure. The identity is 128 bits of the topic, the key's name, the video and the text (BLAKE2b, RFC 7693). So a
play is the same play whichever nsqd it comes from, and however often it was published. Two plays of different
videos are never the same, whatever their ids are: they may be in different ledgers. Among n plays, two have
the same identity by chance with a probability of n² / 2¹²⁹.
"""

import contextlib
from collections.abc import Iterator
from hashlib import blake2b
from itertools import product
from typing import Any

import msgspec

from .. import guids
from ..columns import PLAY_ID_BYTES
from . import tolerant
from .bodies import (
    TEMPLATES_MAX,
    TOLERANT_BYTES_MAX,
    TOO_LARGE,
    UNREADABLE,
    Bodies,
    video_of,
)
from .templates import PLAIN, IdentifiedTemplate
from .tolerant import NotAPlay

TEXT_BYTES_MAX = 64  # in UTF-8
PLACES_MAX = 4  # in a body that may have the video's GUID, or the play's id; others are not looked at
_OTHERS = bytes.maketrans(PLAIN, PLAIN[1:] + PLAIN[:1])  # another plain character for each


def make_bodies(topic: str, play_id: str) -> Bodies:
    """What reads the bodies of a topic. `play_id`: as in `nsq.play_id`, "" if NSQ's message ids are used."""
    return IdentifiedBodies(topic, play_id) if play_id else Bodies()


class IdentifiedBodies(Bodies):
    """`Bodies` that appends the identity of each play (16 bytes) to `play_ids`, in their order."""

    def __init__(self, topic: str, name: str):
        """`name`: the key of the play id, in ASCII."""
        super().__init__()
        self._name = name
        fields: list[Any] = [("video_id", str), ("play_id", str)]
        kind = msgspec.defstruct("_IdentifiedPlay", fields, rename={"play_id": name})
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)
        self._begun = blake2b(b"%b\0%b\0" % (topic.encode(), name.encode()), digest_size=PLAY_ID_BYTES)
        self._templates_of: dict[int, IdentifiedTemplate] = {}

    def decode(self, body: bytes) -> tuple[bytes, bytes]:
        """The video (16 bytes) that was played, and the text of the play's id. Raises `NotAPlay`."""
        try:
            play = self._decoder.decode(body)
            video, text = play.video_id, play.play_id
        except UNREADABLE as error:
            if len(body) > TOLERANT_BYTES_MAX:
                what = f"plain JSON with a video_id and {self._name}"
                raise NotAPlay(f"{TOO_LARGE} and is not {what}") from error
            video, text = tolerant.video_id(body), tolerant.play_id(body, self._name)
        return video_of(video), self._checked(text)

    def video(self, body: bytes) -> bytes | None:
        """The video (16 bytes) that was played, or None if the body is not a play."""
        template = self._templates_of.get(len(body))
        video = template and template.video(body)
        if template and video:
            self._missed.pop(len(body), None)
            text = template.play_id(body)
        else:
            try:
                video, text = self.decode(body)
            except NotAPlay as why:
                self.why = str(why)
                return None
            if self._makes_template(len(body)):
                self._remember(body, video, text)
        self.play_ids += self._identity(video + text)
        return video

    def videos(self, data: bytes, at: int, size: int, stride: int, count: int) -> bytes | None:
        """See `Bodies`."""
        template = self._templates_of.get(size)
        videos = template and template.videos(data, at, stride, count)
        if not template or not videos:
            return None
        named = template.named(videos, data, at, stride, count)
        if named is None:
            return None
        self._missed.pop(size, None)
        self.play_ids += b"".join(map(self._identity, named))
        return videos

    def _identity(self, named: bytes) -> bytes:
        """`named`: the video, then the text of the id."""
        digest = self._begun.copy()
        digest.update(named)
        return digest.digest()

    def _checked(self, text: str) -> bytes:
        try:
            found = text.encode()
        except UnicodeEncodeError:  # half a surrogate pair
            found = tolerant.LOST.encode()
        if tolerant.LOST in text or tolerant.LOST.encode() == found:
            raise NotAPlay(f"{self._name} is not valid text")
        if not found:
            raise NotAPlay(f"{self._name} is empty")
        if len(found) > TEXT_BYTES_MAX:
            raise NotAPlay(f"{self._name} has more than {TEXT_BYTES_MAX} bytes")
        return found

    def _remember(self, body: bytes, video: bytes, text: bytes) -> None:
        template = next(self._templates_for(body, video, text), None)
        if template is not None:
            if len(self._templates_of) >= TEMPLATES_MAX:
                self._templates_of.clear()
            self._templates_of[len(body)] = template

    def _templates_for(self, body: bytes, video: bytes, text: bytes) -> Iterator[IdentifiedTemplate]:
        """Templates of which it is known that the GUID is the video's, and that the text is the play's id."""
        if text.translate(None, PLAIN):
            return
        other_video, other_text = bytes(255 - byte for byte in video), text.translate(_OTHERS)
        guid, other_guid = guids.text(video).encode(), guids.text(other_video).encode()
        for at, id_at in product(_places(body.lower(), guid, 0), _places(body, b'"%b"' % text, 1)):
            end, id_end = at + len(guid), id_at + len(text)
            if at < id_end and id_at < end:
                continue
            # What was found may belong to other keys: with others in their places, both have to change.
            changed = bytearray(body)
            changed[at:end], changed[id_at:id_end] = other_guid, other_text
            with contextlib.suppress(NotAPlay):
                if self.decode(bytes(changed)) == (other_video, other_text):
                    yield IdentifiedTemplate(body[:at], body[end:], slice(id_at, id_end))


def _places(body: bytes, text: bytes, beyond: int) -> list[int]:
    """The first places in a body that have this text, each plus `beyond`."""
    found: list[int] = []
    at = body.find(text)
    while at >= 0 and len(found) < PLACES_MAX:
        found.append(at + beyond)
        at = body.find(text, at + 1)
    return found
