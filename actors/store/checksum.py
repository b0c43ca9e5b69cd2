"""A value with a CRC-32 in front, because SQLite does not check the content of a value."""

from zlib import crc32

_CRC_BYTES = 4


def seal(content: bytes, about: str = "") -> bytes:
    """The value to store. `about`: what the value belongs to; with another one it counts as damaged."""
    return crc32(content, crc32(about.encode())).to_bytes(_CRC_BYTES, "big") + content


def unseal(value: bytes, about: str = "") -> bytes:
    """The content of a stored value. Raises `ValueError` if it is damaged, `TypeError` if it is no bytes."""
    content = value[_CRC_BYTES:]
    if seal(content, about) != value:
        raise ValueError("a checksum does not match")
    return content
