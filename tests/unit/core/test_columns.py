"""Columns: what is packed comes out again, and half a value is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core import columns

numbers = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(numbers))
def test_numbers_come_out_as_they_went_in(values):
    column = columns.pack_numbers(values)
    assert list(columns.unpack_numbers(column)) == values
    assert columns.count(column, columns.NUMBER_BYTES) == len(values)


@given(st.lists(st.binary(min_size=16, max_size=16)))
def test_videos_come_out_as_they_went_in(videos):
    assert columns.unpack_videos(b"".join(videos)) == videos


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_ids_are_read_big_endian_and_unsigned(ids):
    assert list(columns.unpack_ids(b"".join(one.to_bytes(8, "big") for one in ids))) == ids


@pytest.mark.parametrize(
    "unpack", [columns.unpack_numbers, columns.unpack_ids, columns.unpack_videos]
)
@pytest.mark.parametrize("size", [1, 7, 9, 15, 17])
def test_half_a_value_is_refused(unpack, size):
    with pytest.raises(ValueError):
        unpack(bytes(size))


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_a_number_that_does_not_fit_is_refused(value):
    with pytest.raises(OverflowError):
        columns.pack_numbers([value])
