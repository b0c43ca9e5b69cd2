"""The messages between a supervisor and a child, on the control pipe; one union per direction."""

from typing import TypeAlias

from msgspec import Struct


class Linked(Struct, frozen=True, array_like=True, tag="linked"):
    """Supervisor to child, with a descriptor: a new link to that incarnation of a peer."""

    peer: str
    incarnation: int


UNASKED = 0  # the number of no ping


class Ping(Struct, frozen=True, array_like=True, tag="ping"):
    """Supervisor to child: answer with `Pong`."""

    number: int


class Drain(Struct, frozen=True, array_like=True, tag="drain"):
    """Supervisor to child: finish what you hold, take nothing new, then send `Drained`."""


class Reload(Struct, frozen=True, array_like=True, tag="reload"):
    """Supervisor to every child: read again the files that may have changed. See `Actor.reload`."""


class Call(Struct, frozen=True, array_like=True, tag="call"):
    """Supervisor to child: a request for the actor, opaque here; the answer is `Reply`."""

    number: int
    request: bytes


class Stopping(Struct, frozen=True, array_like=True, tag="stopping"):
    """Supervisor to every child: the service stops; end on `Shutdown`, not on SIGTERM.

    A service manager sends SIGTERM to all processes of a service at once. If all ended at once, pending
    videos could not be published.
    """


class Shutdown(Struct, frozen=True, array_like=True, tag="shutdown"):
    """Supervisor to child: end now, in order."""


class Ready(Struct, frozen=True, array_like=True, tag="ready"):
    """Child to supervisor: `init` is done. `addresses`: "host:port" by setting. `note`: for the log."""

    addresses: dict[str, str] = {}
    note: str = ""


class Loading(Struct, frozen=True, array_like=True, tag="loading"):
    """Child to supervisor, before `Ready`: how far `init` is, `done` of `total` (0: not known) of `what`."""

    done: int
    total: int
    what: str


class Resumed(Struct, frozen=True, array_like=True, tag="resumed"):
    """Child to supervisor, once per incarnation: it does its work again. `note`: what it did."""

    note: str = ""


class MayEnd(Struct, frozen=True, array_like=True, tag="may_end"):
    """Child to supervisor: a SIGTERM came.

    The answer is `Shutdown` if it was for this child alone, and `Stopping` if it was for the whole service.
    """


class Pong(Struct, frozen=True, array_like=True, tag="pong"):
    """Child to supervisor: the answer to `Ping`, or what it says by itself: then `number` is `UNASKED`.

    `stats`: what `Actor.stats` returned, opaque here. `mailbox_bytes`: bytes that are unread in its links.
    `log_lines_dropped`: lines of this incarnation's log that could not be written.
    """

    number: int
    stats: bytes
    mailbox_bytes: int = 0
    log_lines_dropped: int = 0


class Reply(Struct, frozen=True, array_like=True, tag="reply"):
    """Child to supervisor: the actor's answer to the `Call` with this number, opaque here."""

    number: int
    reply: bytes


class Drained(Struct, frozen=True, array_like=True, tag="drained"):
    """Child to supervisor: nothing is held any more. `left`: what could not be finished."""

    left: str = ""


ChildInbox: TypeAlias = Linked | Ping | Call | Drain | Reload | Stopping | Shutdown
SupervisorInbox: TypeAlias = Loading | Ready | Resumed | Pong | Reply | Drained | MayEnd
