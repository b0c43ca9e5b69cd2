"""Bodies of any bytes are judged as json.loads and uuid judge them, and no other exception is raised."""

import json
import uuid

from hypothesis import given
from hypothesis import strategies as st

from actors.core.consumer.bodies import Bodies, NotAPlay, dead_letters, decode, reason
from tests.support.fuzzing import spoilt, tries


def video_by_the_book(body: bytes) -> bytes | None:
    """The video of a play, by the standard library; None if the body is no play."""

    def no_number(text):
        raise ValueError(text)

    try:
        value = json.loads(body.decode(), parse_constant=no_number, parse_int=lambda _: 0)
    except ValueError:
        return None
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
bodies = st.one_of(
    objects.map(json.dumps),
    objects.map(lambda one: json.dumps(one, ensure_ascii=False)),
    objects.map(lambda one: json.dumps(one, indent=2)),
    values.map(json.dumps),
).map(lambda text: text.encode("utf-8", "surrogatepass"))


def check(body: bytes, memory: Bodies) -> None:
    expected = {video_by_the_book(body)}
    if b"\\ud" in body.lower():  # half a surrogate pair in an ignored value: some JSON readers accept it
        expected.add(None)
    assert memory.video(body) in expected
    try:
        assert decode(body) in expected
    except NotAPlay as why:
        assert None in expected, why
        assert reason(body) == str(why)
        (letter,) = dead_letters(body, "nsqd/plays", "0" * 16, 1, str(why))
        assert json.loads(letter)["reason"] == str(why)


@tries(200)
@given(spoilt(bodies) | st.binary(max_size=64))
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
