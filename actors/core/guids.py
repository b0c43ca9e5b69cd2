"""GUIDs in the forms that people write, to the 16 bytes that identify a video, and back.

Upper and lower case are accepted, with or without braces, hyphens or "urn:uuid:", and with white space around
it; all forms of one GUID are one video. Publishes always carry the canonical form: lower case with hyphens
(RFC 9562, section 4).
"""

import re
from collections.abc import Collection
from contextlib import suppress

_FORM = re.compile(
    r"(?:urn:uuid:)?(\{)?"
    r"([0-9a-f]{8})(-?)([0-9a-f]{4})\3([0-9a-f]{4})\3([0-9a-f]{4})\3([0-9a-f]{12})"
    r"(?(1)\})",
    re.IGNORECASE | re.ASCII,
)
_LENGTH = 36  # of the canonical form
_HYPHENS = (8, 13, 18, 23)


def parse(text: str) -> bytes:
    """The 16 bytes of a GUID. Raises `ValueError` if the text is not a GUID."""
    form = _FORM.fullmatch(text.strip())
    if form is None:
        raise ValueError("not a GUID")
    return bytes.fromhex("".join(form.group(2, 4, 5, 6, 7)))


def parse_all(texts: Collection[str]) -> bytes:
    """The 16 bytes of each GUID, one after the other. Raises `ValueError` if one of them is none."""
    joined, count = "".join(texts), len(texts)
    digits = joined.replace("-", "")
    are_usual = (
        all(len(one) == _LENGTH for one in texts)
        and len(digits) == 32 * count
        and all(joined[place::_LENGTH] == "-" * count for place in _HYPHENS)
        and digits.isalnum()  # `fromhex` passes over white space
    )
    if are_usual:
        with suppress(ValueError):  # one of the next line's calls says it better
            return bytes.fromhex(digits)
    return b"".join(map(parse, texts))


def text(video: bytes) -> str:
    """The canonical text of a video's 16 bytes."""
    digits = video.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
