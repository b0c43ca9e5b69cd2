"""Effects: plain data that say what an actor has to do.

Rules take a message and the time, and return a list of effects. The actor carries out the effects in the
order of the list: an effect after a `Commit` must wait until the commit has succeeded. All actors have
`Send`. The effects of a single actor are in `consumer/effects.py`, `counter/effects.py` or
`dispatcher/effects.py`.
"""

from msgspec import Struct

from .messages import Message


class Send(Struct, frozen=True):
    """Put a message into a peer's mailbox. Without a link to the peer the message is dropped.

    After the next link is made, the two actors repeat what is still needed.
    """

    peer: str
    message: Message


def is_for(peer: str, effect: object) -> bool:
    """Whether an effect is a message for `peer`. Such a message is obsolete when the peer is gone."""
    return isinstance(effect, Send) and effect.peer == peer
