"""Which bytes are one whole request with nothing unusual. Everything else is left to the HTTP server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.system.whole_requests import Kind, whole_request

KIND = Kind("POST /plays HTTP/1.1", frozenset({"host", "content-length", "accept"}))
HEAD = b"POST /plays HTTP/1.1\r\nHost: here\r\nContent-LENGTH:  3 \r\nAccept:a: b\r\n\r\n"


def test_a_whole_request_has_its_headers_by_lower_case_names_and_its_body():
    found = whole_request(HEAD + b"\r\n\0", KIND)
    assert found == ({"host": "here", "content-length": "3", "accept": "a: b"}, b"\r\n\0")


@given(st.integers(0, len(HEAD) + 2))
def test_a_part_of_one_is_none(length):
    assert whole_request((HEAD + b"abc")[:length], KIND) is None


@given(st.binary(max_size=200))
def test_whatever_the_bytes_are_it_raises_nothing(came):
    whole_request(came, KIND)
    whole_request(HEAD + came, KIND)
    whole_request(came + HEAD, KIND)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"POST", b"post"),
        (b"/plays", b"/plays?"),
        (b"1.1", b"1.0"),
        (b"Host: here\r\n", b""),
        (b"Host", b"Host "),
        (b"Host", b" Host"),
        (b"Host: here", b"Host: here\r\nhost: here"),
        (b"Host: here", b"Host: he\nre"),
        (b"Host: here", b"Host: he\rre"),
        (b"Host: here", b"Host: he\0re"),
        (b"Host: here", b"Host: h\xc3\xa9re"),
        (b"Accept:a: b", b"Accept"),
        (b"Accept", b"Expect"),
        (b"\r\n", b"\n"),
        (b" 3 ", b" +3"),
        (b" 3 ", b" 3, 3"),
        (b" 3 ", b" 0x3"),
        (b" 3 ", b"\t3"),
        (b" 3 ", b" 4"),
        (b" 3 ", b" 2"),
        (b" 3 ", b" 000000003"),
        (b" 3 ", b" " + b"3" * 5000),
    ],
)
def test_what_is_unusual_is_none(old, new):
    assert whole_request(HEAD + b"abc", KIND) is not None
    assert whole_request(HEAD.replace(old, new) + b"abc", KIND) is None
