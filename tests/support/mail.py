"""Hypothesis strategies for the messages of a mailbox, and a check of how they are decoded."""

import types
import typing

import msgspec
from hypothesis import strategies as st

from actors.supervision.mailbox import Decoder, encode


def kinds_of(inbox):
    return typing.get_args(inbox) or (inbox,)


def strategy_of(annotation):
    """The strategy for values of this type."""
    if typing.get_origin(annotation) is list:
        return st.lists(strategy_of(typing.get_args(annotation)[0]), max_size=5)
    if typing.get_origin(annotation) is dict:
        key, value = map(strategy_of, typing.get_args(annotation))
        return st.dictionaries(key, value, max_size=4)
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return st.one_of(*map(strategy_of, typing.get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        fields = typing.get_type_hints(annotation)
        return st.builds(annotation, **{name: strategy_of(kind) for name, kind in fields.items()})
    if annotation is type(None):
        return st.none()
    return {
        int: st.integers(-(2**63), 2**64 - 1),
        float: st.floats(allow_nan=False),
        bool: st.booleans(),
        str: st.text(max_size=20),
        bytes: st.binary(max_size=40),
    }[annotation]


def mail(inbox):
    return st.lists(st.one_of(*map(strategy_of, kinds_of(inbox))), max_size=6)


def assert_survives_every_cut(inbox, data):
    """Check that messages for `inbox` are decoded unchanged, wherever their bytes are cut."""
    sent = data.draw(mail(inbox))
    stream = b"".join(map(encode, sent))
    assert Decoder(inbox).feed(stream) == sent
    by_byte = Decoder(inbox)
    assert [one for byte in stream for one in by_byte.feed(bytes([byte]))] == sent
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    decoder = Decoder(inbox)
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [one for piece in pieces for one in decoder.feed(piece)] == sent
