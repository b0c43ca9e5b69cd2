"""The text of a config file. TOML is UTF-8; a byte order mark before it is left out, as editors write one."""

import functools
import os
import re
from pathlib import Path

DESCRIPTOR = r"/dev/stdin|/dev/fd/[0-9]+|/proc/.+/fd/[0-9]+"
BYTES_MAX = 1 << 20  # of a config file; config.toml with every key explained has some 30 KB
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def text_of(file: Path) -> str:
    """Return the text of a file or a stream.

    Raises `OSError` if it can't be read, and `ValueError` if it is not UTF-8 or has more than `BYTES_MAX`.
    """
    return _text_of_stream(file) if is_stream(file) else _decoded(_read(file))


def why_not_toml(error: Exception, text: str) -> str:
    """Say why `tomllib` refuses a text. What is there twice is named as it stands in the file."""
    if section := re.fullmatch(r"Cannot declare \((.+?),?\) twice (\(at line .+\))", str(error)):
        name = ".".join(re.findall(r"[^', ]+", section[1]))
        return f"[{name}] is there twice {section[2]}"
    if value := re.fullmatch(r"Cannot overwrite a value (\(at line ([0-9]+), .+\))", str(error)):
        *before, line = text.splitlines()[: int(value[2])]
        headers = [one.strip() for one in before if one.lstrip().startswith("[")]
        section_name = headers[-1].partition("]")[0].lstrip("[ ") + "." if headers else ""
        return f"{section_name}{line.partition('=')[0].strip()} is there twice {value[1]}"
    return str(error)


def is_stream(file: Path) -> bool:
    """Whether it is a pipe or names an open descriptor: such a file lies in no folder."""
    return re.fullmatch(DESCRIPTOR, str(file)) is not None or not os.path.isfile(file)


@functools.cache
def _text_of_stream(file: Path) -> str:
    """Read a stream and keep its text: it can be read only once, and a command may load settings twice."""
    return _decoded(_read(file))


def _read(file: Path) -> bytes:
    with open(file, "rb") as opened:
        content = opened.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise ValueError(f"it has more than {BYTES_MAX >> 20} MiB, expected a config file")
    return content


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
