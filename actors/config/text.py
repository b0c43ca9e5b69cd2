"""The text of a config file. TOML is UTF-8; a byte order mark before it is left out, as editors write one."""

import functools
import os
import re
from pathlib import Path

DESCRIPTOR = r"/dev/stdin|/dev/fd/[0-9]+|/proc/.+/fd/[0-9]+"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def text_of(file: Path) -> str:
    """Return the text of a file or a stream.

    Raises `OSError` if it can't be read, and `ValueError` if it is not UTF-8.
    """
    return _text_of_stream(file) if is_stream(file) else _decoded(file.read_bytes())


def is_stream(file: Path) -> bool:
    """Whether it is a pipe or names an open descriptor: such a file lies in no folder."""
    return re.fullmatch(DESCRIPTOR, str(file)) is not None or not os.path.isfile(file)


@functools.cache
def _text_of_stream(file: Path) -> str:
    """Read a stream and keep its text: it can be read only once, and a command may load settings twice."""
    return _decoded(file.read_bytes())


def _decoded(content: bytes) -> str:
    if content.startswith(UTF_16_MARKS):
        raise ValueError("it is UTF-16, expected UTF-8: save it as UTF-8")
    if b"\0" in content:
        raise ValueError("it has NUL bytes, as UTF-16 has, expected UTF-8: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} has the byte 0x{content[error.start]:02x}, which is not UTF-8 (is it Latin-1?), "
            "expected UTF-8: save it as UTF-8"
        ) from error
