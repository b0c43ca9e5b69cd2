"""Message bodies against json.loads and uuid: all paths agree on any bytes, and none raises."""

import json
import re
import struct
import uuid

from hypothesis import example, given
from hypothesis import strategies as st

from actors.core.consumer import tolerant
from actors.core.consumer.bodies import Bodies, NotAPlay, dead_letters, decode
from actors.core.consumer.frames import ALIKE_MIN, MESSAGE_TYPE, FrameParser
from tests.support.bodies import reason
from tests.support.fuzzing import spoilt, tries

ESCAPE = re.compile(r"\\(u[0-9a-f]{4}|.)", re.DOTALL | re.IGNORECASE)
STRING_OR_NAME = re.compile(
    r'"(?:\\.|[^"\\])*"|(?<![\w.+-])[-+]?(?:nan|inf|infinity)(?![\w.+-])', re.DOTALL | re.IGNORECASE
)
GUID = "6f1ed002-ab55-4d7e-8f2c-1d2e3f40516a"
PLAY = b'{"video_id":"%s"}' % GUID.encode()


def video_in(value: object) -> bytes | None:
    """The video of a decoded body, by the standard library; None if the body is not a play."""
    if not isinstance(value, dict) or not isinstance(value.get("video_id"), str):
        return None
    text = value["video_id"].strip().lower()
    try:
        guid = uuid.UUID(text)
    except ValueError:
        return None
    plain = (str(guid), guid.hex)
    forms = [
        f"{urn}{left}{one}{right}"
        for one in plain
        for urn in ("", "urn:uuid:")
        for left, right in (("", ""), ("{", "}"))
    ]
    return guid.bytes if text in forms else None


def video_by_the_book(body: bytes) -> bytes | None:
    """What json.loads finds, with wrong bytes, unknown escapes, control characters, long numbers allowed."""

    def known(escape: re.Match[str]) -> str:
        return escape[0] if len(escape[1]) == 5 or escape[1] in '"\\/bfnrt' else "?"

    def number(name: re.Match[str]) -> str:
        return name[0] if name[0].startswith('"') else "0"

    text = ESCAPE.sub(known, body.decode(json.detect_encoding(body), "replace"))
    try:
        return video_in(json.loads(STRING_OR_NAME.sub(number, text), strict=False, parse_int=lambda _: 0))
    except ValueError:
        return None


def video_by_json_loads(body: bytes) -> bytes | None:
    """What json.loads finds in a body as it is."""
    try:
        return video_in(json.loads(body))
    except (ValueError, RecursionError):
        return None


def video_by_the_tolerant_path(body: bytes) -> bytes | None:
    """What a body means to the reader that is asked only where msgspec refuses."""
    try:
        return decode(b'{"video_id":%s}' % json.dumps(tolerant.video_id(body)).encode())
    except NotAPlay:
        return None


guids = st.uuids().flatmap(
    lambda one: st.sampled_from([str(one), one.hex, str(one).upper(), f"{{{one}}}", f" {one}\n", one.urn])
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | guids,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
objects = st.fixed_dictionaries(
    {"video_id": guids | values}, optional={"at": values, "Video_id": values, "user": values}
)
ordinary = st.one_of(
    objects.map(json.dumps),
    objects.map(lambda one: json.dumps(one, ensure_ascii=False)),
    objects.map(lambda one: json.dumps(one, indent=2)),
    values.map(json.dumps),
).map(lambda text: text.encode("utf-8", "surrogatepass"))

# Bodies as bytes, because json.dumps makes none of these.
spaces = st.sampled_from([b"", b"", b" ", b"\n\t\r "])
texts = rb'"" "\ud83d" "\x" "\u12" "\\" "\"" "{[,:" "video_id" "\"video_id\":" "v\"'.split()
strings = st.one_of(
    guids.map(lambda text: b'"%s"' % text.encode()),
    guids.map(lambda text: b'"\\u%04x%s"' % (ord(text[0]), text[1:].encode())),
    st.binary(max_size=6).map(lambda text: b'"%s"' % re.sub(rb'["\\]', b"", text)),
    st.sampled_from([*texts, b'"\xed\xa0\xbd"', b'"\xf0\x9f"', b'"\0\n"']),
)
keys = (
    st.sampled_from([b'"video_id"', b'"video\\u005Fid"', b'"\\u0076ideo_id"', b'""', b'"Video_id"']) | strings
)
names = b"NaN Infinity -Infinity nan -inf +Inf nano true false null tru".split()
numbers = st.sampled_from(
    [*names, *b"0 -0 -0.0E-0 1e999 -1E+999 01 1. .5 +1 - 1e 0x1".split(), b"9" * 5000, b"1 2"]
)


def spaced(parts: list[bytes], between: bytes, space: bytes) -> bytes:
    return space + (space + between + space).join(parts) + space


def arrays(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(st.lists(inner, max_size=3), spaces).map(
        lambda one: b"[%s]" % spaced(one[0], b",", one[1])
    )


def maps(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    pairs = st.tuples(keys, inner, spaces).map(lambda one: spaced([one[0], one[1]], b":", one[2]))
    return st.tuples(st.lists(pairs, max_size=4), spaces).map(
        lambda one: b"{%s}" % spaced(one[0], b",", one[1])
    )


raw_values = st.recursive(strings | numbers, lambda inner: arrays(inner) | maps(inner), max_leaves=8)
plays = st.tuples(keys, raw_values, spaces, st.permutations([PLAY[1:-1], b'"x":%s'])).map(
    lambda one: b"{%s,%s:%s}" % (one[3][0].replace(b"%s", one[1]), one[0], one[1]) + one[2]
)
marks = st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf", b" \xef\xbb\xbf"])
raw = st.tuples(marks, maps(raw_values) | plays | raw_values).map(b"".join)
encoded = st.tuples(
    raw, st.sampled_from(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
).map(lambda one: one[0].decode("utf-8", "replace").encode(one[1]))
bodies = ordinary | raw | encoded


def check(body: bytes, memory: Bodies) -> None:
    expected = video_by_the_book(body)
    assert memory.video(body) == expected
    assert video_by_the_tolerant_path(body) == expected
    assert video_by_json_loads(body) in (None, expected)
    try:
        assert decode(body) == expected
    except NotAPlay as why:
        assert expected is None, why
        assert reason(body) == str(why)
        (letter,) = dead_letters(body, {"reason": str(why)})
        assert json.loads(letter)["reason"] == str(why)


@tries(400)
@given(spoilt(bodies) | st.binary(max_size=64))
@example(b'{"title":"\\ud83d","video_id":"%s"}' % GUID.encode())
@example(b'\xef\xbb\xbf{"x":[NaN,-Infinity,1e999],"video_id":"%s"}' % GUID.encode())
@example(b'{"video_id":1,"video_id":"%s"}' % GUID.encode())
def test_a_body_is_a_play_or_a_dead_letter_by_the_book(body):
    check(body, Bodies())


@tries(60)
@given(
    st.lists(bodies, min_size=1, max_size=3).flatmap(
        lambda some: st.lists(spoilt(st.sampled_from(some)), min_size=2, max_size=6)
    )
)
def test_what_came_before_does_not_change_what_a_body_means(several):
    memory = Bodies()
    for body in several:
        check(body, memory)


def frame(number: int, body: bytes) -> bytes:
    """One message as nsqd sends it."""
    return struct.pack(">iiqH16s", len(body) + 30, MESSAGE_TYPE, 17, 1, b"%016x" % number) + body


@tries(60)
@given(
    spoilt(plays.filter(lambda body: GUID.encode() in body)),
    st.lists(guids.filter(lambda text: len(text) == len(GUID)), min_size=1, max_size=4),
    spoilt(st.just(GUID.encode())),
)
def test_many_bodies_that_are_read_at_once_mean_what_each_means_by_the_book(shape, others, near):
    texts = [GUID.encode(), *(text.encode() for text in others), near[: len(GUID)].ljust(len(GUID), b"0")]
    several = [shape.replace(GUID.encode(), text) for text in texts for _ in range(ALIKE_MIN)]
    parser = FrameParser(Bodies())
    parser.feed(frame(0, several[0]))
    parsed = parser.feed(b"".join(frame(number, body) for number, body in enumerate(several)))
    expected = {b"%016x" % number: video_by_the_book(body) for number, body in enumerate(several)}
    ids, videos = bytes(parsed.plays.ids), bytes(parsed.plays.videos)
    assert {one.id: None for one in parsed.bad} | {
        ids[row * 16 :][:16]: videos[row * 16 :][:16] for row in range(len(parsed.plays))
    } == expected
