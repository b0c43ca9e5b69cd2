"""A play is a play whatever else its body holds. A body that is not JSON is no play."""

import json
import time

import pytest

from actors.core.consumer import tolerant
from actors.core.consumer.bodies import Bodies, NotAPlay, decode
from tests.support.bodies import reason

TEXT = "6f1ed002-ab55-4d7e-8f2c-1d2e3f40516a"
VIDEO = bytes.fromhex(TEXT.replace("-", ""))
OTHER = bytes(255 - byte for byte in VIDEO)
NAMED = b'"video_id":"%s"' % TEXT.encode()
PLAY = b"{%s}" % NAMED
MEBIBYTE = 1024 * 1024
CPU_S_MAX = 20  # the worst takes 0.5 s; time that grows with the square of the length would be minutes

IGNORED = {
    "half of a surrogate pair": rb'"\ud83d"',
    "the other half": rb'"\ude00 and more"',
    "halves in the wrong order": rb'"\ude00\ud83d"',
    "half a pair in UTF-8": b'"\xed\xa0\xbd"',
    "a pair in CESU-8": b'"\xed\xa0\xbd\xed\xb8\x80"',
    "Latin-1": b'"caf\xe9"',
    "a character that was cut": b'"\xf0\x9f\x98"',
    "an overlong NUL": b'"\xc0\x80"',
    "a NUL": b'"\0"',
    "control characters": bytes([34, *range(1, 32), 34]),
    "an unknown escape": rb'"C:\media"',
    "an escape that was cut": rb'"\u12"',
    "escaped quotes": rb'"\"\\\"video_id\\\":\\"',
    "a video_id in a text": rb'"\"video_id\":1"',
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "what C prints": b"[nan,-nan,inf,-inf]",
    "what Go prints": b"[NaN,+Inf,-Inf]",
    "-0": b"[-0,-0.0,-0e-0]",
    "1e999": b"[1e999,-1E+999,1e-999]",
    "5,000 digits": b"9" * 5000,
    "100,000 digits and a fraction": b"-" + b"1" * 100_000 + b"." + b"2" * 100_000 + b"e" + b"3" * 100_000,
    "arrays of 100,000 levels": b"[" * 100_000 + b"]" * 100_000,
    "objects of 30,000 levels": b'{"video_id":' * 30_000 + b"1" + b"}" * 30_000,
    "both in turn": b'[{"":' * 50_000 + b"[]" + b"}]" * 50_000,
    "an inner video_id": b'{"video_id":"x"}',
    "empty ones": b'[[],{},"",{"":{}},[{ }],[ ]]',
    "spaces": b'\t\r\n[ 1 , [ 2 , { "a" : "b" , "c" : [ ] } ] , "d" ]\t\r\n',
}


def play_of(body):
    """What all paths say of a body, which is the same: None for what is no play."""
    memory = Bodies()
    try:
        video = decode(body)
    except NotAPlay as why:
        video = None
        assert reason(body) == str(why)
    assert [memory.video(body), memory.video(body)] == [video, video]
    return video


@pytest.mark.parametrize("value", IGNORED.values(), ids=IGNORED.keys())
def test_a_play_is_a_play_whatever_else_its_body_holds(value):
    assert play_of(b'{"x":%s,%s}' % (value, NAMED)) == VIDEO
    assert play_of(b'{%s,"x":%s}' % (NAMED, value)) == VIDEO
    assert play_of(b'{"x":%s,%s,"y":[%s]} ' % (value, NAMED, value)) == VIDEO
    assert play_of(b'{"x":[%s,{%s}]}' % (value, NAMED)) is None


@pytest.mark.parametrize("key", [value for value in IGNORED.values() if value.startswith(b'"')])
def test_any_text_is_a_key_that_is_ignored(key):
    assert play_of(b"{%s:1,%s}" % (key, NAMED)) == VIDEO
    assert play_of(b"{%s,%s:1}" % (NAMED, key)) == VIDEO


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_body_is_text_in_any_encoding_that_json_loads_tells_apart(encoding, mark):
    body = f'{mark} {{"x":"\ud83d é",{NAMED.decode()}}}\r\n'.encode(encoding, "surrogatepass")
    assert json.loads(body)["video_id"] == TEXT
    assert play_of(body) == VIDEO
    assert play_of(body[:-13]) is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"video\\u005fid":"%s"}' % TEXT.encode(),
        b'{"x":NaN,"\\u0076\\u0069\\u0064\\u0065\\u006F\\u005F\\u0069\\u0064" : "%s"}' % TEXT.encode(),
        b'{"x":NaN,"video_id":"%s"}' % "".join(f"\\u{ord(one):04X}" for one in TEXT).encode(),
        b'{"x":NaN,"video_id":"\\t{%s}\\n"}' % TEXT.encode(),
        b'{"":NaN,"video_id" \n:\t"%s"}' % TEXT.encode(),
    ],
)
def test_key_and_guid_may_be_escaped(body):
    assert play_of(body) == VIDEO


@pytest.mark.parametrize("ignored", [b"1", b"NaN"])
@pytest.mark.parametrize(
    "before",
    [b"1", b'"x"', b"null", b'{"video_id":2}', b'["video_id"]', b'"5fec8982-705f-4a15-8228-3d03c74803e5"'],
)
@pytest.mark.parametrize("key", [b'"video_id"', b'"video\\u005fid"'])
def test_of_two_equal_keys_the_last_counts(key, before, ignored):
    assert play_of(b'{"x":%s,%s:%s,%s}' % (ignored, key, before, NAMED)) == VIDEO
    last = play_of(b'{%s,%s:%s,"x":%s}' % (NAMED, key, before, ignored))
    assert last == (bytes.fromhex("5fec8982705f4a1582283d03c74803e5") if b"-" in before else None)


@pytest.mark.parametrize(
    "body",
    [
        *(PLAY[:size] for size in range(1, len(PLAY))),
        *(
            PLAY + after
            for after in (b"x", b"{}", b",", b"}", b"]", b"1", b'"', b"\0", b"\xef\xbb\xbf", b"\x0c")
        ),
        *(
            before + PLAY
            for before in (b"x", b"[", b"{", b"1", b",", b"\0", b" \xef\xbb\xbf", b"\xef\xbb\xbf" * 2)
        ),
        *(
            b'{"x":[%s],%s}' % (one, NAMED)
            for one in (b"1 2", b"1,", b",1", b",", b'"a":1', b"{", b"}", b"]", b"[")
        ),
        *(
            b'{"x":{%s},%s}' % (one, NAMED)
            for one in (b"1", b"1:1", b'"a"', b'"a":', b'"a":1,', b'"a":1,2', b",")
        ),
        *(
            b'{"x":%s,%s}' % (one, NAMED)
            for one in (b"", b"tru", b"True", b"01", b"1.", b".5", b"+1", b"-", b"0x1")
        ),
        *(
            b'{"x":%s,%s}' % (one, NAMED)
            for one in (b"[}", b"'a'", b"nano", b"1e", b'"\\', b'"\\"', b"--Infinity")
        ),
        b"{%s,}" % NAMED,
        b"{,%s}" % NAMED,
        b"{%s %s}" % (NAMED, NAMED),
        b"{video_id:1,%s}" % NAMED,
        b"{%s]" % NAMED,
        b"\xef\xbb\xbf",
        b" ",
    ],
    ids=lambda one: repr(one[-24:]),
)
def test_what_is_not_json_has_that_reason(body):
    assert play_of(body) is None
    assert reason(body) == "the body is not JSON"


HOSTILE = {
    "openers": b"[" * MEBIBYTE,
    "openers with keys": b'{"":' * (MEBIBYTE // 4),
    "openers and closers": b"[" * (MEBIBYTE // 2) + b"]" * (MEBIBYTE // 2),
    "closers": b"]" * MEBIBYTE,
    "small arrays": b"[" + b"[0]," * (MEBIBYTE // 4) + b"0]",
    "empty texts": b"[" + b'"",' * (MEBIBYTE // 3) + b"0]",
    "members": b"{" + b'"":0,' * (MEBIBYTE // 5) + b'"":0}',
    "names": b"{" + b'"video_id":0,' * (MEBIBYTE // 13) + b'"":0}',
    "digits": b"9" * MEBIBYTE,
    "minus signs": b"-" * MEBIBYTE,
    "spaces": b" " * MEBIBYTE,
    "spaced openers": b"[ " * (MEBIBYTE // 2),
    "a text without an end": b'"' + b"a" * MEBIBYTE,
    "a text of escapes without an end": b'"' + b'\\"' * (MEBIBYTE // 2),
    "quotes": b'"' * MEBIBYTE,
    "backslashes": b"\\" * MEBIBYTE,
    "halves of surrogate pairs": b'"' + b"\\ud83d" * (MEBIBYTE // 6) + b'"',
    "NUL": b"\0" * MEBIBYTE,
    "openers in UTF-16": ("[" * (MEBIBYTE // 2)).encode("utf-16"),
    "no UTF-8": b"\xff" * MEBIBYTE,
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_body_costs_no_more_than_its_length(body):
    began = time.process_time()
    with pytest.raises(NotAPlay):
        tolerant.video_id(body)
    with pytest.raises(NotAPlay):
        tolerant.video_id(b'{"x":%s,%s' % (body, NAMED))
    assert time.process_time() - began < CPU_S_MAX


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"A" * MEBIBYTE, "the body is not a JSON object"),
        (b" [" + b"1," * MEBIBYTE, "the body is not a JSON object"),
        (b'"' * MEBIBYTE, "the body is not a JSON object"),
        (b'{"x":' + b"[" * MEBIBYTE, "the object has no video_id"),
        (("{" + "A" * MEBIBYTE).encode("utf-16"), "the object has no video_id"),
    ],
    ids=("letters", "an array", "quotes", "an object without the key", "UTF-16"),
)
def test_a_long_body_that_can_have_no_key_is_not_read(body, why, monkeypatch):
    monkeypatch.setattr(tolerant, "_skeleton", None)
    with pytest.raises(NotAPlay, match=why):
        tolerant.video_id(body)


@pytest.mark.parametrize("name", [b'"video_id"', rb'"\u0076ideo_id"'], ids=("plain", "escaped"))
def test_a_long_body_with_the_key_is_a_play(name):
    body = b' {"x":"\x01%s",%s:"5fec8982-705f-4a15-8228-3d03c74803e5"}' % (b"A" * MEBIBYTE, name)
    assert tolerant.video_id(body) == "5fec8982-705f-4a15-8228-3d03c74803e5"


def test_a_video_id_with_an_escape_that_nobody_knows_is_no_guid():
    with pytest.raises(NotAPlay, match="video_id is not a GUID"):
        tolerant.video_id(rb'{"video_id":"\q"}')
