"""Finds `video_id` in any body that a JSON parser of the field takes: for the bodies that msgspec refuses.

Pure. The grammar is JSON's (RFC 8259). The following is taken too, because it does not change which video was
played:

    strings      with half a surrogate pair, control characters, bytes that are not UTF-8, unknown escapes
    numbers      of any length, NaN and infinities as any language prints them
    nesting      of any depth
    encodings    UTF-8, UTF-16 and UTF-32, with or without a byte order mark, as json.loads tells them apart

The time depends only on the length of the body. Regular expressions read the body once and never go back. A
loop reads what they leave: brackets and commas. Nothing recurses.
"""

import json
import re
from itertools import islice

_SPACE = r"[ \t\n\r]*+"
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_KEY = rf"{_STRING}{_SPACE}:{_SPACE}"
_NUMBER = r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][-+]?[0-9]++)?+"
_NAME = r"true|false|null|[-+]?(?i:nan|inf(?:inity)?+)"
_EMPTY = rf"\[{_SPACE}\]|\{{{_SPACE}\}}"
_OPENERS = rf"(?:(?:\[(?!{_SPACE}\])|\{{{_SPACE}{_KEY}){_SPACE})*+"
_CLOSERS = rf"(?:{_SPACE}[\]}}])*+"
_VALUE = rf"{_OPENERS}(?:{_STRING}|{_NUMBER}|{_NAME}|{_EMPTY}){_CLOSERS}"
_NEXT = rf"{_SPACE},{_SPACE}(?:{_KEY})?+{_VALUE}"
_SHAPE = rf"{_SPACE}{_VALUE}(?:{_NEXT})*+{_SPACE}"
_LETTERS = "".join(rf"(?:{letter}|\\u(?i:{ord(letter):04x}))" for letter in "video_id")

_shape = re.compile(_SHAPE.encode(), re.DOTALL)
_string = re.compile(_STRING.encode(), re.DOTALL)
_value = re.compile(rf"{_SPACE}({_STRING})".encode(), re.DOTALL)
# In a body of this shape, a quote inside a string follows a backslash, and a quote that ends a string comes
# before no letter and no escape. So every match is a key.
_video_id = re.compile(rf'(?<!\\)"{_LETTERS}"{_SPACE}:'.encode())

_decoder = json.JSONDecoder(strict=False)  # control characters are allowed

_SIGNS = b"[]{},:v"
_NO_SIGNS = bytes(byte for byte in range(256) if byte not in _SIGNS)
_OPENERS_OF = {ord(sign): ord(opener) for sign, opener in ("][", "}{", ",[", ";{", "v{")}
_ENDS = b"]}"
_NAMED = ord("v")


class NotAPlay(ValueError):
    """The body is not a play; the text is the reason."""


def video_id(body: bytes) -> str:
    """The text of `video_id`. Of two equal keys, the last counts. Raises `NotAPlay` with the reason."""
    if not body:
        raise NotAPlay("the body is empty")
    body = _utf8(body)
    if not _shape.fullmatch(body):
        raise NotAPlay("the body is not JSON")
    skeleton = _skeleton(body)
    number = _last_at_the_top(skeleton)
    if not skeleton.startswith(b"{"):
        raise NotAPlay("the body is not a JSON object")
    if not number:
        raise NotAPlay("the object has no video_id")
    key = next(islice(_video_id.finditer(body), number - 1, None))
    return _text_at(body, key.end())


def _utf8(body: bytes) -> bytes:
    """The body in UTF-8, without a byte order mark. What is no character in UTF-16 or UTF-32 is replaced."""
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return body
    return body[3:] if encoding == "utf-8-sig" else body.decode(encoding, "replace").encode()


def _skeleton(body: bytes) -> bytes:
    """The brackets and commas of a body: `,` in an array, `;` in an object, `v` where a key is video_id."""
    without_strings = _string.sub(b"", _video_id.sub(b":v", body))
    return without_strings.translate(None, _NO_SIGNS).replace(b",:", b";").replace(b":", b"")


def _last_at_the_top(skeleton: bytes) -> int:
    """The number of the `v` that comes last in the outermost object, counted from 1; 0 if it has none.

    Raises `NotAPlay` if brackets do not match, if an array has keys, or if a value in an object has no key.
    """
    opened, keys, last = bytearray(), 0, 0
    for sign in skeleton:
        opener = _OPENERS_OF.get(sign)
        if opener is None:
            opened.append(sign)
        elif not opened or opened[-1] != opener:
            raise NotAPlay("the body is not JSON")
        elif sign in _ENDS:
            opened.pop()
        elif sign == _NAMED:
            keys += 1
            if len(opened) == 1:
                last = keys
    if opened:
        raise NotAPlay("the body is not JSON")
    return last


def _text_at(body: bytes, at: int) -> str:
    string = _value.match(body, at)
    if string is None:
        raise NotAPlay("video_id is not a text")
    try:
        return str(_decoder.decode(string[1].decode("utf-8", "replace")))
    except ValueError:  # an unknown escape
        raise NotAPlay("video_id is not a GUID") from None
