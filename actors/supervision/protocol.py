"""The messages between a supervisor and a child, on the control pipe; one union a direction."""

from typing import TypeAlias

from msgspec import Struct


class Linked(Struct, frozen=True, array_like=True, tag="linked"):
    """Supervisor to child, with a descriptor: a new link to that incarnation of a peer."""

    peer: str
    incarnation: int


class Ping(Struct, frozen=True, array_like=True, tag="ping"):
    """Supervisor to child: are you alive, and what are your stats?"""

    number: int


class Drain(Struct, frozen=True, array_like=True, tag="drain"):
    """Supervisor to child: finish what you hold, take nothing new, then say `Drained`."""


class Stopping(Struct, frozen=True, array_like=True, tag="stopping"):
    """Supervisor to every child: the service stops; end when told `Shutdown`, not on a SIGTERM.

    A service manager sends SIGTERM to all processes of a service at once, and what is pending could
    not be published if all ended at once.
    """


class Shutdown(Struct, frozen=True, array_like=True, tag="shutdown"):
    """Supervisor to child: end now, in order."""


class Ready(Struct, frozen=True, array_like=True, tag="ready"):
    """Child to supervisor: `init` is done. `addresses`: what it listens on, by setting key."""

    addresses: dict[str, str] = {}
    note: str = ""


class Resumed(Struct, frozen=True, array_like=True, tag="resumed"):
    """Child to supervisor, once in an incarnation: it does again what it is for. `note`: what it did."""

    note: str = ""


class MayEnd(Struct, frozen=True, array_like=True, tag="may_end"):
    """Child to supervisor: a SIGTERM came. Was it for this child alone? Answered with `Shutdown`, or with
    `Stopping` where the whole service was told."""


class Pong(Struct, frozen=True, array_like=True, tag="pong"):
    """Child to supervisor: alive. `stats`: what `Actor.stats` gave, opaque here. `mailbox_bytes`: what waits
    unread in its links."""

    number: int
    stats: bytes
    mailbox_bytes: int = 0


class Drained(Struct, frozen=True, array_like=True, tag="drained"):
    """Child to supervisor: nothing is held any more. `left` says what could not be finished."""

    left: str = ""


ChildInbox: TypeAlias = Linked | Ping | Drain | Stopping | Shutdown
SupervisorInbox: TypeAlias = Ready | Resumed | Pong | Drained | MayEnd
