"""Templates of bodies: all bytes but the GUID's digits, and the play id's text if there is one. A body that
matches one is read without decoding.

Pure. `bodies.py` and `identified.py` make a template only if they know that this GUID is the video's, and
this text the play id.
"""

from binascii import unhexlify

import numpy as np
import numpy.typing as npt

_FORM = b"00000000-0000-0000-0000-000000000000"
_DIGITS = np.flatnonzero(np.frombuffer(_FORM, np.uint8) == ord("0"))
_WORD_BYTES = 8
# What a play id in a template has: a character that means itself in JSON, in one byte.
PLAIN = bytes(sorted(set(range(0x20, 0x7F)) - set(b'"\\')))


class Template:
    """Bodies that differ only in a GUID, which is in its form with hyphens."""

    def __init__(self, head: bytes, tail: bytes):
        """`head` and `tail`: the bytes before and after the GUID."""
        self._head, self._tail = head, tail
        self._size = len(head) + len(_FORM) + len(tail)
        self._guid = slice(len(head), len(head) + len(_FORM))
        self._compare(head + _FORM + tail, len(head) + _DIGITS)

    def video(self, body: bytes) -> bytes | None:
        """The video (16 bytes) of a body, or None if the body does not match."""
        if len(body) == self._size and body.startswith(self._head) and body.endswith(self._tail):
            text = body[self._guid]
            digits = text.replace(b"-", b"")
            if len(digits) == 32 and text[8:24:5] == b"----":
                return _bytes_of(digits)
        return None

    def videos(self, data: bytes, at: int, stride: int, count: int) -> bytes | None:
        """The videos (16 bytes each, packed) of `count` bodies, or None if one does not match.

        The first body begins at `at`, at least 8 bytes from the start of `data`. Each body begins `stride`
        bytes after the one before.
        """
        words = np.ndarray((count, len(self._mask)), np.uint64, data, at - self._lead, (stride, _WORD_BYTES))
        if not ((words & self._mask) == self._fixed).all():
            return None
        texts = np.ndarray((count, len(_FORM)), np.uint8, data, at + self._guid.start, (stride, 1))
        return _bytes_of(texts.take(_DIGITS, axis=1).data)

    def _compare(self, form: bytes, free: npt.NDArray[np.intp]) -> None:
        """Compare bodies with this one in whole words, but for the bytes in the places `free`.

        The first word may begin before the body; the mask has 0 for bytes to ignore.
        """
        self._lead = -len(form) % _WORD_BYTES
        mask = np.full(self._lead + len(form), 0xFF, np.uint8)
        mask[: self._lead] = 0
        mask[self._lead + free] = 0
        self._mask = mask.view(np.uint64)
        self._fixed = np.frombuffer(bytes(self._lead) + form, np.uint64) & self._mask


class IdentifiedTemplate(Template):
    """Bodies that differ only in a GUID and in a play id, which always has as many bytes."""

    def __init__(self, head: bytes, tail: bytes, play_id: slice):
        """`head` and `tail`: as in `Template`. `play_id`: where the id is, before or after the GUID."""
        super().__init__(head, tail)
        self._play_id = play_id
        form = head + _FORM + tail
        self._compare(form, np.concatenate((len(head) + _DIGITS, np.arange(play_id.start, play_id.stop))))
        self._id_bytes = play_id.stop - play_id.start
        first, last = sorted((self._guid, play_id), key=lambda one: one.start)
        self._before, self._after = form[: first.start], form[last.stop :]
        self._between, self._middle = slice(first.stop, last.start), form[first.stop : last.start]

    def video(self, body: bytes) -> bytes | None:
        """The video (16 bytes) of a body, or None if the body does not match."""
        if (
            len(body) == self._size
            and body.startswith(self._before)
            and body.endswith(self._after)
            and body[self._between] == self._middle
            and not body[self._play_id].translate(None, PLAIN)
        ):
            text = body[self._guid]
            digits = text.replace(b"-", b"")
            if len(digits) == 32 and text[8:24:5] == b"----":
                return _bytes_of(digits)
        return None

    def play_id(self, body: bytes) -> bytes:
        """The play id of a body that matches."""
        return body[self._play_id]

    def named(self, videos: bytes, data: bytes, at: int, stride: int, count: int) -> list[bytes] | None:
        """Each of the `videos` with the play id of its body behind it; None if an id needs to be decoded.

        The others are as in `videos`, which found them.
        """
        texts = np.ndarray((count, self._id_bytes), np.uint8, data, at + self._play_id.start, (stride, 1))
        if texts.tobytes().translate(None, PLAIN):
            return None
        rows = np.concatenate((np.frombuffer(videos, np.uint8).reshape(count, -1), texts), axis=1)
        size, packed = rows.shape[1], rows.tobytes()
        return [packed[start : start + size] for start in range(0, len(packed), size)]


def _bytes_of(digits: bytes | memoryview) -> bytes | None:
    try:
        return unhexlify(digits)
    except ValueError:
        return None  # not a GUID, or a GUID in another form
