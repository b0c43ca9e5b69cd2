"""nsqd's compressed streams: what went in comes out, however it is cut, and what is damaged is refused."""

import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.consumer.frames import BadStream
from actors.sources.codecs import Deflate, Snappy

KINDS = [Snappy, Deflate]
PIECE = 1000


def decoded(codec, stream, cuts=(), bytes_max=PIECE):
    """Feed a stream in pieces, and take all after each."""
    found, begin = bytearray(), 0
    for end in [*sorted(cuts), len(stream)]:
        codec.feed(memoryview(stream)[begin:end])
        begin = end
        while taken := codec.take(bytes_max):
            assert len(taken) <= bytes_max
            found += taken
    return bytes(found)


@pytest.mark.parametrize("kind", KINDS)
@given(contents=st.lists(st.binary(max_size=3000), max_size=5), data=st.data())
def test_what_went_in_comes_out_however_it_is_cut(kind, contents, data):
    codec = kind()
    stream = b"".join(codec.encode(content) for content in contents)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    bytes_max = data.draw(st.integers(1, 5000))
    assert decoded(kind(), stream, cuts, bytes_max) == b"".join(contents)


@pytest.mark.parametrize("kind", KINDS)
def test_each_write_can_be_decoded_at_once(kind):
    ours, theirs = kind(), kind()
    for content in (b"SUB a b\n", b"RDY 1\n", os.urandom(200_000), b"x" * 200_000):
        assert decoded(theirs, ours.encode(content)) == content


@pytest.mark.parametrize("kind", KINDS)
def test_byte_by_byte(kind):
    content = os.urandom(500) + b"a" * 500
    stream = kind().encode(content)
    assert decoded(kind(), stream, range(len(stream))) == content


def test_no_changed_byte_of_snappy_becomes_other_content():
    content = b"one play, and another play"
    stream = Snappy().encode(content)
    for place in range(len(stream)):
        damaged = bytearray(stream)
        damaged[place] ^= 0x04
        try:
            found = decoded(Snappy(), bytes(damaged))
        except BadStream:
            continue
        assert found in (b"", content)


def test_what_is_no_deflate_is_refused():
    with pytest.raises(BadStream, match="not what deflate makes"):
        decoded(Deflate(), b"\xff" * 100)


def test_a_snappy_chunk_that_is_too_long_is_refused_before_it_comes():
    with pytest.raises(BadStream, match="a chunk of 16777215 bytes"):
        decoded(Snappy(), b"\x01\xff\xff\xff")


def test_an_http_answer_is_no_snappy():
    with pytest.raises(BadStream):
        decoded(Snappy(), b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_deflate_that_stands_for_far_more_is_given_in_pieces_of_the_size_that_is_asked_for():
    bomb = Deflate().encode(bytes(10_000_000))
    assert len(bomb) < 20_000
    codec = Deflate()
    codec.feed(memoryview(bomb))
    assert len(codec.take(PIECE)) == PIECE
    total = PIECE
    while taken := codec.take(1 << 20):
        total += len(taken)
    assert total == 10_000_000


def test_bytes_after_the_end_of_deflate_are_refused():
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    codec = Deflate()
    assert decoded(codec, packer.compress(b"a") + packer.flush()) == b"a"
    with pytest.raises(BadStream, match="after the end"):
        codec.feed(memoryview(b"b"))
