"""Columns: packed values are unpacked unchanged, and half a value is refused."""

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


@pytest.mark.parametrize("unpack", [columns.unpack_numbers, columns.unpack_ids, columns.unpack_videos])
@pytest.mark.parametrize("size", [1, 7, 9, 15, 17])
def test_half_a_value_is_refused(unpack, size):
    with pytest.raises(ValueError):
        unpack(bytes(size))


@pytest.mark.parametrize("length", [0, 1, 15, 16, 40])
def test_columns_of_one_length_are_narrowed_together_as_each_alone(length):
    several = [columns.pack_numbers([most] * length) for most in (3, 300, 70_000, -1)]
    assert columns.narrow_all(several) == [columns.narrow(one) for one in several]


@given(st.lists(st.one_of(numbers, st.integers(0, 300), st.integers(0, 70_000))))
def test_what_was_narrowed_is_the_same_when_widened(values):
    column = columns.pack_numbers(values)
    narrowed = columns.narrow(column)
    assert columns.widen_all([narrowed])[0].tolist() == values
    assert len(narrowed) <= len(column) + 1


@given(st.lists(st.lists(st.one_of(numbers, st.integers(0, 300), st.integers(0, 70_000)), max_size=20)))
def test_columns_that_are_widened_together_keep_their_order_and_lengths(several):
    narrowed = [columns.narrow(columns.pack_numbers(one)) for one in several]
    widened, lengths = columns.widen_all(narrowed)
    assert widened.tolist() == [number for one in several for number in one]
    assert lengths.tolist() == list(map(len, several))


@pytest.mark.parametrize(
    ("largest", "size"),
    [(0, 1), (255, 1), (256, 2), (65_535, 2), (65_536, 4), (2**32 - 1, 4), (2**32, 8), (-1, 8)],
)
def test_a_column_is_as_narrow_as_its_largest_number_allows(largest, size):
    assert len(columns.narrow(columns.pack_numbers([*[0] * 99, largest]))) == 1 + 100 * size
    assert len(columns.narrow(columns.pack_numbers([0, largest]))) == 1 + 2 * 8, "too short to narrow"


@pytest.mark.parametrize("narrowed", [b"", b"\0", b"\x03abc", b"\x02abc", b"\x08" + bytes(9)])
def test_what_no_column_was_narrowed_to_is_refused(narrowed):
    for before in ([], [columns.narrow(b"")]):
        with pytest.raises(ValueError):
            columns.widen_all([*before, narrowed])


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_a_number_that_does_not_fit_is_refused(value):
    with pytest.raises(OverflowError):
        columns.pack_numbers([value])
