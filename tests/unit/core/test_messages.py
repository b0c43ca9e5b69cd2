"""The messages between the actors: decoded unchanged, frozen, with different tags, documented."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core import messages
from actors.core.messages import ConsumerInbox, CounterInbox, DispatcherInbox, Message, Recall
from actors.supervision import protocol
from actors.supervision.mailbox import BadMail, Decoder, encode
from actors.supervision.protocol import ChildInbox, SupervisorInbox
from tests.support.mail import assert_survives_every_cut, kinds_of

INBOXES = [ConsumerInbox, CounterInbox, DispatcherInbox]


@pytest.mark.parametrize("inbox", INBOXES, ids=lambda inbox: str(kinds_of(inbox)[0].__name__))
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_every_message_comes_out_as_it_went_in_however_the_bytes_are_cut(inbox, data):
    assert_survives_every_cut(inbox, data)


def test_every_kind_of_message_is_in_a_mailbox_and_frozen():
    of_actors = {kind for inbox in INBOXES for kind in kinds_of(inbox)}
    assert set(kinds_of(Message)) == of_actors
    everywhere = of_actors | {kind for inbox in (ChildInbox, SupervisorInbox) for kind in kinds_of(inbox)}
    for kind in everywhere:
        assert kind.__struct_config__.frozen, f"{kind.__name__} can be changed after it was made"
        assert kind.__struct_config__.array_like
    tags = [kind.__struct_config__.tag for kind in everywhere]
    assert len(tags) == len(set(tags)), "two kinds of message with one tag"
    for kind in [*vars(messages).values(), *vars(protocol).values()]:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            assert kind.__doc__, f"{kind.__name__} has no docstring"


def test_a_message_of_another_mailbox_is_bad_mail():
    with pytest.raises(BadMail):
        Decoder(ConsumerInbox).feed(encode(Recall()))
