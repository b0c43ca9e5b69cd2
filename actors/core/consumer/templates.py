"""Templates of bodies: all bytes but the GUID's digits. A body that matches one is read without decoding.

Pure. `bodies.py` makes a template only if it knows that this GUID is the video's.
"""

from binascii import unhexlify

import numpy as np

_FORM = b"00000000-0000-0000-0000-000000000000"
_DIGITS = np.flatnonzero(np.frombuffer(_FORM, np.uint8) == ord("0"))
_WORD_BYTES = 8


class Template:
    """Bodies that differ only in a GUID, which is in its form with hyphens."""

    def __init__(self, head: bytes, tail: bytes):
        """`head` and `tail`: the bytes before and after the GUID."""
        self._head, self._tail = head, tail
        self._size = len(head) + len(_FORM) + len(tail)
        self._guid = slice(len(head), len(head) + len(_FORM))
        # Bodies are compared in whole words. The first word may begin before the body; the mask has 0 for
        # bytes to ignore.
        self._lead = -self._size % _WORD_BYTES
        mask = np.full(self._lead + self._size, 0xFF, np.uint8)
        mask[: self._lead] = 0
        mask[self._lead + len(head) + _DIGITS] = 0
        self._mask = mask.view(np.uint64)
        self._fixed = np.frombuffer(bytes(self._lead) + head + _FORM + tail, np.uint64) & self._mask

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
        texts = np.ndarray((count, len(_FORM)), np.uint8, data, at + len(self._head), (stride, 1))
        return _bytes_of(texts.take(_DIGITS, axis=1).data)


def _bytes_of(digits: bytes | memoryview) -> bytes | None:
    try:
        return unhexlify(digits)
    except ValueError:
        return None  # not a GUID, or a GUID in another form
