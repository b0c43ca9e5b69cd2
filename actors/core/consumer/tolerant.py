"""Finds a key's text in any body that a JSON parser of the field takes: for the bodies that msgspec refuses.

Pure. The key is `video_id`, or the one that `nsq.play_id` names. The grammar is JSON's (RFC 8259). The
following is taken too, because it does not change which video was played. (A play id that is not text is
refused.)

    strings      with half a surrogate pair, control characters, bytes that are not UTF-8, unknown escapes
    numbers      of any length, NaN and infinities as any language prints them
    nesting      of any depth
    encodings    UTF-8, UTF-16 and UTF-32, with or without a byte order mark, as json.loads tells them apart

The time depends only on the length of the body, and nothing recurses. The body is reduced step by step: first
each string becomes one byte, then each scalar, then each key. Which byte may follow which is checked at once.
A loop over brackets, commas and the keys of that name checks the rest. (No possessive quantifiers: until
Python 3.11.5 they match wrongly, gh-106052.)
"""

import json
import re
from functools import lru_cache
from itertools import chain

_SPACE = b" \t\n\r"
# One byte each, in place of a string, of a string that is the name, and of any other scalar.
_TEXT, _NAME, _SCALAR = b"\0", b"\1", b"\2"
_KEY, _NAMED = b"k", b"v"  # in place of a key, and of the key that is the name

_string = re.compile(rb'"[^"]*"')  # once no quote is escaped
_scalar = re.compile(
    rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null|[-+]?(?i:nan|inf(?:inity)?)"
)
# Two bytes that can't follow each other; a scalar stands for every value that is not in brackets.
_wrong_pair = re.compile(
    rb"[\2\]}](?=[^,\]}])|\[(?=[^\2\[{\]])|\{(?=[^kv}])|,(?=[^\2\[{kv])|[kv](?=[^\2\[{])"
)

LONG_BYTES = 4096  # a longer body is looked at before it is read

LOST = "\N{REPLACEMENT CHARACTER}"  # in place of what was no character
_decoder = json.JSONDecoder(strict=False)  # control characters are allowed

_OPENERS_OF = {ord(sign): ord(opener) for sign, opener in ("][", "}{", ",[", ";{", "v{")}
_ENDS = b"]}"


class NotAPlay(ValueError):
    """The body is not a play; the text is the reason."""


def video_id(body: bytes) -> str:
    """The text of `video_id`. Of two equal keys, the last counts. Raises `NotAPlay` with the reason."""
    string = _string_of(body, "video_id").decode("utf-8", "replace")
    try:
        return str(_decoder.decode(string))
    except ValueError:  # an unknown escape
        raise NotAPlay("video_id is not a GUID") from None


def play_id(body: bytes, name: str) -> str:
    """The text of the key with this name (ASCII). Of two equal keys, the last counts.

    Raises `NotAPlay` with the reason, also for bytes that are not text: two ids must not become one.
    """
    string = _string_of(body, name)
    try:
        text = str(_decoder.decode(string.decode()))
    except ValueError:
        text = LOST
    if LOST in text:
        raise NotAPlay(f"{name} is not valid text")
    return text


def _string_of(body: bytes, name: str) -> bytes:
    """The string (in UTF-8, with its quotes) that the last key of this name has."""
    if not body:
        raise NotAPlay("the body is empty")
    body = _utf8(body)
    if len(body) > LONG_BYTES:
        _look(body, name)
    plain = body.replace(b"\\\\", b"xx").replace(b'\\"', b"xx")  # as long as before, and no quote is escaped
    strings, between = _string.findall(plain), _string.split(plain)
    names = [at for at, string in enumerate(strings) if _named(name).fullmatch(string)]
    skeleton = _skeleton(between, names)
    number = _last_at_the_top(skeleton)
    if not skeleton.startswith(b"{"):
        raise NotAPlay("the body is not a JSON object")
    if not number:
        raise NotAPlay(f"the object has no {name}")
    keys = [at for at in names if between[at + 1].lstrip(_SPACE).startswith(b":")]
    key = keys[number - 1]
    if between[key + 1].strip(_SPACE) != b":":
        raise NotAPlay(f"{name} is not a string")
    start = sum(map(len, between[: key + 2])) + sum(map(len, strings[: key + 1]))
    return body[start : start + len(strings[key + 1])]


def _look(body: bytes, name: str) -> None:
    """Refuse a long body that can't have the key. Raises `NotAPlay`.

    Reading it takes a tenth of a second for a megabyte, and nothing else is counted meanwhile.
    """
    if not body.lstrip(_SPACE).startswith(b"{"):
        raise NotAPlay("the body is not a JSON object")
    if name.encode() not in body and rb"\u" not in body:  # a name may have its letters escaped
        raise NotAPlay(f"the object has no {name}")


@lru_cache(maxsize=8)
def _named(name: str) -> re.Pattern[bytes]:
    """A string with this text, however its letters are written."""
    letters = (rb"(?:%b|\\u(?i:%04x))" % (re.escape(bytes([one])), one) for one in name.encode("ascii"))
    return re.compile(b'"%b"' % b"".join(letters))


def _utf8(body: bytes) -> bytes:
    """The body in UTF-8, without a byte order mark. What is no character in UTF-16 or UTF-32 is replaced."""
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return body
    return body[3:] if encoding == "utf-8-sig" else body.decode(encoding, "replace").encode()


def _skeleton(between: list[bytes], names: list[int]) -> bytes:
    """The brackets and commas of a body: `,` in an array, `;` in an object, `v` where a key is the name.

    `between`: what is before, between and after the strings. `names`: the places of the strings that are
    the name. Raises `NotAPlay` for a byte in a wrong place.
    """
    marks = [_TEXT] * (len(between) - 1) + [b""]
    for at in names:
        marks[at] = _NAME
    rest = b"".join(between)
    if len(rest.translate(None, _TEXT + _NAME + _SCALAR)) != len(rest):
        raise NotAPlay("the body is not JSON")
    signs = b"".join(chain.from_iterable(zip(between, marks, strict=True)))
    signs = _scalar.sub(_SCALAR, signs).translate(None, _SPACE)
    signs = signs.replace(_TEXT + b":", _KEY).replace(_NAME + b":", _NAMED)
    signs = signs.replace(_TEXT, _SCALAR).replace(_NAME, _SCALAR)
    if signs[:1] not in (_SCALAR, b"[", b"{") or signs[-1:] not in (_SCALAR, b"]", b"}"):
        raise NotAPlay("the body is not JSON")
    if _wrong_pair.search(signs):
        raise NotAPlay("the body is not JSON")
    return signs.replace(b",k", b";").replace(b",v", b";v").translate(None, _SCALAR + _KEY)


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
        elif sign == ord(_NAMED):
            keys += 1
            if len(opened) == 1:
                last = keys
    if opened:
        raise NotAPlay("the body is not JSON")
    return last
