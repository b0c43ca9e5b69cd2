"""What a GET /totals asks for, and which totals are the greatest."""

import msgspec
import pytest

from actors.core import guids, totals
from actors.core.columns import pack_numbers
from actors.core.totals import NUMBER_MAX, TOP_MAX, Bounds, FoundTotals, TotalsCall

GUID = "5fec8982-705f-4a15-8228-3d03c74803e5"


def test_an_answer_is_read_by_guid():
    first, second = guids.parse(GUID), bytes(16)
    assert totals.by_guid(FoundTotals(first + second, pack_numbers([7, 1]))) == {
        GUID: 7,
        guids.text(second): 1,
    }
    with pytest.raises(ValueError):
        totals.by_guid(FoundTotals(first, pack_numbers([7, 1])))


def test_the_greatest_are_first_and_of_equal_ones_the_least_guid():
    found = totals.greatest_of([("c", 2), ("b", 2), ("a", 1), ("d", 5)], 3)
    assert list(found.items()) == [("d", 5), ("b", 2), ("c", 2)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, Bounds()),
        ({"top": [b"1"]}, Bounds(top=1)),
        ({"below": [b"100"]}, Bounds(below=100)),
        ({"top": [b"%d" % TOP_MAX], "below": [b"%d" % NUMBER_MAX]}, Bounds(TOP_MAX, NUMBER_MAX)),
    ],
)
def test_bounds_are_read(query, expected):
    assert totals.bounds_of(query) == expected


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"top": [b""]}, "top = '', expected one whole number, 1 to 1000"),
        ({"top": [b"0"]}, "top = '0', expected one whole number, 1 to 1000"),
        ({"top": [b"1001"]}, "top = '1001', expected one whole number, 1 to 1000"),
        ({"top": [b"-1"]}, "top = '-1', expected one whole number, 1 to 1000"),
        ({"top": [b"1.5"]}, "top = '1.5', expected one whole number, 1 to 1000"),
        ({"top": ["²".encode()]}, "top = '²', expected one whole number, 1 to 1000"),
        ({"top": ["٣".encode()]}, "top = '٣', expected one whole number, 1 to 1000"),
        ({"top": [b"\xff"]}, "top = '\ufffd', expected one whole number, 1 to 1000"),
        ({"top": [b"1", b"1"]}, "top is given 2 times, expected one whole number, 1 to 1000"),
        ({"below": [b"9" * 5000]}, f"below = '{'9' * 100}'…, expected one whole number, 1 to {2**63 - 1}"),
        ({"below": [b"%d" % 2**63]}, f"below = '{2**63}', expected one whole number, 1 to {2**63 - 1}"),
        ({"topp": [b"1"]}, "'topp' is unknown, expected top=N, below=N or both"),
    ],
)
def test_other_bounds_are_refused_in_words(query, why):
    with pytest.raises(ValueError) as refused:
        totals.bounds_of(query)
    assert str(refused.value) == why


def test_a_video_is_found_in_every_form_and_other_text_is_refused():
    for written in (GUID, GUID.upper(), GUID.replace("-", ""), f"{{{GUID}}}", f" urn:uuid:{GUID} "):
        assert guids.text(totals.video_of(written)) == GUID
    for written in ("", GUID[:-1], "x" * 5000, "\0", "../status"):
        with pytest.raises(ValueError, match="is not a GUID, expected a video as 8f14e45f-") as refused:
            totals.video_of(written)
        assert len(str(refused.value)) < 250


def test_questions_and_answers_come_out_as_they_went_in():
    call, found = TotalsCall(b"v" * 16, 7, 5, 100), FoundTotals(b"v" * 16, b"t" * 8, 3, "why not")
    assert totals.decode_call(totals.encode(call)) == call
    assert totals.decode_found(totals.encode(found)) == found
    for decode in (totals.decode_call, totals.decode_found):
        with pytest.raises(msgspec.DecodeError):
            decode(msgspec.msgpack.encode({"another": "message"}))
