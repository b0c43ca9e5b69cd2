"""The shape of a body: all of it but the digits of its GUID. Bodies that have one are read without decoding.

Pure. Whether a GUID that stands there is the video's, `bodies.py` has to know before it makes a shape.
"""

from binascii import unhexlify

import numpy as np

_FORM = b"00000000-0000-0000-0000-000000000000"
_DIGITS = np.flatnonzero(np.frombuffer(_FORM, np.uint8) == ord("0"))
_WORD_BYTES = 8


class Shape:
    """Bodies with the same before and behind a GUID in its form with hyphens."""

    def __init__(self, head: bytes, tail: bytes):
        """`head`, `tail`: what stands before the GUID, and behind it."""
        self._head, self._tail = head, tail
        self._size = len(head) + len(_FORM) + len(tail)
        self._guid = slice(len(head), len(head) + len(_FORM))
        # Compared in whole words, the first of which may begin before the body: 0 in the mask is ignored.
        self._lead = -self._size % _WORD_BYTES
        mask = np.full(self._lead + self._size, 0xFF, np.uint8)
        mask[: self._lead] = 0
        mask[self._lead + len(head) + _DIGITS] = 0
        self._mask = mask.view(np.uint64)
        self._fixed = np.frombuffer(bytes(self._lead) + head + _FORM + tail, np.uint64) & self._mask

    def video(self, body: bytes) -> bytes | None:
        """The video of a body that has this shape; None for one that has not."""
        if len(body) == self._size and body.startswith(self._head) and body.endswith(self._tail):
            text = body[self._guid]
            digits = text.replace(b"-", b"")
            if len(digits) == 32 and text[8:24:5] == b"----":
                return _bytes_of(digits)
        return None

    def videos(self, data: bytes, at: int, stride: int, count: int) -> bytes | None:
        """The videos of so many bodies, 16 bytes each; None when one has not this shape.

        The first body begins at `at`, at least 8 bytes from the start of `data`; the next `stride` bytes on.
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
        return None  # no GUID, or one in another form
