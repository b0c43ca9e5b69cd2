"""Which names of topics and channels are valid, and how Go quotes one. Pure."""

import re

from .limits import NAME_LENGTH_MAX

EPHEMERAL_SUFFIX = "#ephemeral"
_VALID = re.compile(rb"[.a-zA-Z0-9_-]+(#ephemeral)?")
_ESCAPES = dict(zip('\a\b\t\n\v\f\r"\\', 'abtnvfr"\\', strict=True))  # what is written after a backslash


def is_valid_name(name: bytes) -> bool:
    """Whether a topic or channel may have this name, by nsqd's internal/protocol/names.go."""
    return 1 <= len(name) <= NAME_LENGTH_MAX and _VALID.fullmatch(name) is not None


def is_ephemeral(name: str) -> bool:
    """Whether the topic or channel is kept in memory only, and deleted after its last client left."""
    return name.endswith(EPHEMERAL_SUFFIX)


def quoted(name: bytes) -> str:
    """`name` as Go's %q prints it: nsqd's error texts carry names in this form."""
    text = name.decode("utf-8", "surrogateescape")
    return '"' + "".join(_quoted_character(character) for character in text) + '"'


def _quoted_character(character: str) -> str:
    code = ord(character)
    if character in _ESCAPES:
        return "\\" + _ESCAPES[character]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
