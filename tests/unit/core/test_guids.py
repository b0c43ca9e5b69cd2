"""GUIDs in every form that people write, and texts that are not GUIDs."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core import guids

TEXT = "6f1ed002-ab55-4d7e-8f2c-1d2e3f40516a"
VIDEO = uuid.UUID(TEXT).bytes


@pytest.mark.parametrize(
    "form",
    [
        TEXT,
        TEXT.upper(),
        TEXT.replace("-", ""),
        "{" + TEXT + "}",
        "{" + TEXT.upper().replace("-", "") + "}",
        "urn:uuid:" + TEXT,
        "URN:UUID:" + TEXT.upper(),
        f"  {TEXT}\n",
    ],
)
def test_all_forms_of_a_guid_are_one_video(form):
    assert guids.parse(form) == VIDEO


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        TEXT[:-1],
        TEXT + "0",
        "{" + TEXT,
        TEXT + "}",
        "g" + TEXT[1:],
        TEXT.replace("-", "", 1),
        TEXT.replace("-", "_"),
        TEXT[:-1] + "\uff41",  # a full-width letter
        "\u0666" + TEXT[1:],  # an Arabic digit, which int() would accept
        TEXT + "\x00",
    ],
)
def test_what_is_no_guid_is_refused(text):
    with pytest.raises(ValueError, match="not a GUID"):
        guids.parse(text)


@given(st.binary(min_size=16, max_size=16))
def test_the_text_is_canonical_and_parses_back_to_the_same_video(video):
    text = guids.text(video)
    assert text == str(uuid.UUID(bytes=video))
    assert guids.parse(text) == video


@given(st.text(max_size=50))
def test_any_text_is_a_guid_or_a_value_error(text):
    try:
        video = guids.parse(text)
    except ValueError:
        return
    assert uuid.UUID(text.strip().removeprefix("urn:uuid:")).bytes == video


@pytest.mark.parametrize("count", [0, 1, 3])
def test_several_guids_are_parsed_as_each_is(count):
    usual = ["8f14e45f-ceea-467f-a9d2-0c2f4b6c1d3e"] * count
    for texts in (
        usual,
        [*usual, "8F14E45FCEEA467FA9D20C2F4B6C1D3E"],
        [*usual, "{8f14e45f-ceea-467f-a9d2-0c2f4b6c1d3e}"],
    ):
        assert guids.parse_all(texts) == b"".join(map(guids.parse, texts))


@pytest.mark.parametrize(
    "wrong",
    [
        "8f14e45f-ceea-467f-a9d2-0c2f4b6c1d3",
        "8f14e45f-ceea-467f-a9d2-0c2f4b6c1dxx",
        "8f14e45fc-eea-467f-a9d2-0c2f4b6c1d3e",
        "8f14e45f-ceea-467f-a9d2-0c2f4b6c1d  ",
        "8f14e45f-ceea-467f-a9d2-0c2f4b6c1d\u0663\u0663",
        "",
    ],
)
def test_one_that_is_none_among_several_is_refused(wrong):
    usual = "8f14e45f-ceea-467f-a9d2-0c2f4b6c1d3e"
    for texts in ([wrong], [usual, wrong], [wrong, usual, usual]):
        with pytest.raises(ValueError, match="not a GUID"):
            guids.parse_all(texts)


def test_guids_that_are_cut_at_another_place_are_none():
    usual = "8f14e45f-ceea-467f-a9d2-0c2f4b6c1d3e"
    with pytest.raises(ValueError, match="not a GUID"):
        guids.parse_all([usual[:-1], usual[-1] + usual])
