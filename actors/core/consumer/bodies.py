"""Decodes message bodies: a play gives its video; any other body gives a reason and dead letters.

Pure. A play is a JSON object whose `video_id` is a GUID in any of its forms. Other keys are ignored, because
senders add some. msgspec reads nearly all bodies. Those that it refuses are read by `tolerant.py`. With
`nsq.play_id`, `identified.py` reads them.
"""

import base64
import contextlib
import hashlib
import json

import msgspec

from .. import guids
from . import tolerant
from .templates import Template
from .tolerant import NotAPlay

LETTER_BYTES_MAX = 1024 * 1024  # nsqd's max-msg-size, unless set otherwise
TEMPLATES_MAX = 256
TEMPLATE_BODY_BYTES_MAX = 4096
# A template takes as long as some twenty bodies that are decoded. So after MISSED_MAX bodies of a size that
# did not match, only one in SELDOM becomes a template.
MISSED_MAX = 16
SELDOM = 256
LETTER_PART_BYTES = 512 * 1024  # with base64, a part fits into LETTER_BYTES_MAX
# A larger body that msgspec refuses is not read again: `tolerant.py` takes half a second a MiB.
TOLERANT_BYTES_MAX = 1024 * 1024
TOO_LARGE = f"the body has more than {TOLERANT_BYTES_MAX // 2**20} MiB"
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Cut(msgspec.Struct, frozen=True):
    """What is known of a body of which only the start was kept: its length and its SHA-256."""

    body_bytes: int
    sha256: str


class _Play(msgspec.Struct):
    video_id: str


_decoder = msgspec.json.Decoder(_Play)


def decode(body: bytes) -> bytes:
    """The video (16 bytes) that was played. Raises `NotAPlay` with the reason."""
    try:
        text = _decoder.decode(body).video_id
    except UNREADABLE as error:
        if len(body) > TOLERANT_BYTES_MAX:
            raise NotAPlay(f"{TOO_LARGE} and is not plain JSON with a video_id") from error
        text = tolerant.video_id(body)
    return video_of(text)


def video_of(text: str) -> bytes:
    """The video (16 bytes) that the text of `video_id` names. Raises `NotAPlay`."""
    try:
        return guids.parse(text)
    except ValueError:
        raise NotAPlay("video_id is not a GUID") from None


class Bodies:
    """Reads bodies. Most bodies differ only in the GUID. So `Bodies` remembers a template of the last decoded
    body of each size, and reads a body that matches it without decoding. Where bodies differ in more, few
    become templates. `why`: the reason why the last body that was refused is not a play. `play_ids`: gets
    what `identified.py` finds.
    """

    def __init__(self) -> None:
        self.why = ""
        self.play_ids = bytearray()
        self._templates: dict[int, Template] = {}
        self._missed: dict[int, int] = {}  # by size: how many bodies in a row did not match

    def video(self, body: bytes) -> bytes | None:
        """The video (16 bytes) that was played, or None if the body is not a play."""
        template = self._templates.get(len(body))
        video = template and template.video(body)
        if video:
            self._missed.pop(len(body), None)
            return video
        try:
            video = decode(body)
        except NotAPlay as why:
            self.why = str(why)
            return None
        if self._makes_template(len(body)):
            self._remember_template(body, video)
        return video

    def videos(self, data: bytes, at: int, size: int, stride: int, count: int) -> bytes | None:
        """The videos of `count` bodies of `size` bytes: 16 bytes each, packed. None if one does not match.

        The first body begins at `at`, at least 8 bytes from the start of `data`. Each body begins `stride`
        bytes after the one before.
        """
        template = self._templates.get(size)
        videos = template and template.videos(data, at, stride, count)
        if videos:
            self._missed.pop(size, None)
        return videos or None

    def _makes_template(self, size: int) -> bool:
        """Whether to make a template of a body of this size, which was decoded."""
        if size > TEMPLATE_BODY_BYTES_MAX:
            return False
        missed = self._missed[size] = self._missed.get(size, 0) + 1
        return missed <= MISSED_MAX or missed % SELDOM == 0

    def _remember_template(self, body: bytes, video: bytes) -> None:
        text = guids.text(video).encode()
        at = body.lower().find(text)
        if at < 0:
            return
        head, tail = body[:at], body[at + len(text) :]
        # The GUID found may belong to another key: with another GUID in its place, the video has to change.
        other = bytes(255 - byte for byte in video)
        with contextlib.suppress(NotAPlay):
            if decode(head + guids.text(other).encode() + tail) == other:
                if len(self._templates) >= TEMPLATES_MAX:
                    self._templates.clear()
                self._templates[len(body)] = Template(head, tail)


def dead_letters(
    body: bytes, facts: dict[str, object], bytes_max: int = LETTER_BYTES_MAX, cut: Cut | None = None
) -> list[bytes]:
    """The dead letters for a body: JSON with the facts and the body, in parts if the body is large.

    The key `body` holds the text. `body_base64` replaces it if the body is not UTF-8, is cut into parts, or
    would be too large with its control characters escaped: nsqd closes the connection on such a message.

    nsqd may take no letter of more than `bytes_max`, and of a `cut` body only the start is known. Then there
    is one letter, with the start of the body in `body_start_base64`, its length and its SHA-256.
    """
    letters = _whole_letters(body, facts) if cut is None else []
    if letters and all(len(letter) <= bytes_max for letter in letters):
        return letters
    whole = cut or Cut(len(body), hashlib.sha256(body).hexdigest())
    return [_cut_letter(body, facts, whole, min(bytes_max, LETTER_BYTES_MAX))]


def _whole_letters(body: bytes, facts: dict[str, object]) -> list[bytes]:
    parts = [body[at : at + LETTER_PART_BYTES] for at in range(0, len(body), LETTER_PART_BYTES)]
    if len(parts) <= 1:
        letter = _text_letter(facts, body)
        return [letter or _json(facts | {"body_base64": base64.b64encode(body).decode()})]
    return [
        _json(facts | {"part": number, "parts": len(parts), "body_base64": base64.b64encode(part).decode()})
        for number, part in enumerate(parts, 1)
    ]


def _cut_letter(start: bytes, facts: dict[str, object], cut: Cut, bytes_max: int) -> bytes:
    """One letter of at most `bytes_max`. It leaves out what does not fit, last the message's id."""
    facts = facts | {"body_bytes": cut.body_bytes, "body_sha256": cut.sha256, "body_start_base64": ""}
    for key in ("", "source", "reason", "body_start_base64", "arrived_at_ns", "body_bytes", "body_sha256"):
        facts.pop(key, None)
        room = bytes_max - len(_json(facts))
        if room >= 0:
            if "body_start_base64" in facts:
                facts["body_start_base64"] = base64.b64encode(start[: room // 4 * 3]).decode()
            return _json(facts)
    return _json(facts)[:bytes_max]


def _text_letter(facts: dict[str, object], body: bytes) -> bytes | None:
    try:
        letter = _json(facts | {"body": body.decode("utf-8")})
    except UnicodeDecodeError:
        return None
    return letter if len(letter) <= LETTER_BYTES_MAX else None


def _json(facts: dict[str, object]) -> bytes:
    return json.dumps(facts, ensure_ascii=False).encode()
