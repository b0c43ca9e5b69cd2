"""What an actor's rules ask for: plain facts, carried out in the order given.

The rules take a message and the time and return effects; a real process or a simulated one carries them out.
Order is the guarantee: what stands after a `Commit` must not happen before it, nor if it fails. `Send` is
every actor's; the others stand in `consumer/effects.py`, `counter/effects.py` and `dispatcher/effects.py`.
"""

from msgspec import Struct

from .messages import Message


class Send(Struct, frozen=True):
    """Put a message into a peer's mailbox. With no link to it, it is dropped: links resend."""

    peer: str
    message: Message


def is_for(peer: str, effect: object) -> bool:
    """Whether an effect is a message for `peer`. It is obsolete when the peer is gone: links resend."""
    return isinstance(effect, Send) and effect.peer == peer
