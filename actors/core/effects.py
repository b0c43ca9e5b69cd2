"""Effects: plain data that say what an actor's rules want done, in this order.

Rules take a message and the time and return effects; the actor carries them out. The order is the guarantee:
an effect after a `Commit` must wait until the commit has succeeded. All actors have `Send`; the others are
in `consumer/effects.py`, `counter/effects.py` and `dispatcher/effects.py`.
"""

from msgspec import Struct

from .messages import Message


class Send(Struct, frozen=True):
    """Put a message into a peer's mailbox. Without a link it is dropped; a new link repeats it."""

    peer: str
    message: Message


def is_for(peer: str, effect: object) -> bool:
    """Whether an effect is a message for `peer`. Such a message is obsolete when the peer is gone."""
    return isinstance(effect, Send) and effect.peer == peer
