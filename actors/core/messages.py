"""Every message between two actors, and between the supervisor and a child; one union a mailbox.

Promises: each is frozen, checked when it is decoded, and safe to receive twice. Refuses to know how
it travels. Many plays or videos travel as columns, one packed buffer each, because an object a play
is what makes Python slow; `core/columns.py` packs and unpacks them:

    ids         8 bytes a play, big-endian: the NSQ message id
    videos     16 bytes a video: its GUID
    numbers     8 bytes each, native: nanoseconds on the wall clock, or plays
"""

from typing import TypeAlias

from msgspec import Struct


class Plays(Struct, frozen=True, array_like=True, tag="plays"):
    """Consumer to counter: plays of that counter's videos, of one read from one nsqd.

    `number` names it on this link. `source` is "host:port/topic" (or "embedded/topic"):
    ids are unique per source only.
    """

    number: int
    source: str
    ids: bytes
    videos: bytes
    arrived_ns: bytes


class Rejected(Struct, frozen=True, array_like=True, tag="rejected"):
    """Consumer to counter: messages that were no plays and lie on the dead-letter topic now.

    Counted like plays, so that the number of them is exact through kills too.
    """

    number: int
    source: str
    ids: bytes


class Counted(Struct, frozen=True, array_like=True, tag="counted"):
    """Counter to consumer: the batches of these numbers are in the ledger, committed."""

    numbers: list[int]


class Pending(Struct, frozen=True, array_like=True, tag="pending"):
    """Counter to dispatcher: these videos have plays that the client was not told of.

    `arrived_ns`: NSQ's stamp of the oldest such play. `ordinals`: the total that this play made;
    the rule for it (realtime or deadline) is the dispatcher's to choose.
    """

    videos: bytes
    arrived_ns: bytes
    ordinals: bytes


class Collect(Struct, frozen=True, array_like=True, tag="collect"):
    """Dispatcher to counter: a batch leaves; say the totals of these videos as they are now."""

    number: int
    videos: bytes


class Collected(Struct, frozen=True, array_like=True, tag="collected"):
    """Counter to dispatcher: the answer; without the videos that the client knows already."""

    number: int
    videos: bytes
    totals: bytes
    arrived_ns: bytes


class Published(Struct, frozen=True, array_like=True, tag="published"):
    """Dispatcher to counter: the client has confirmed these totals."""

    batch: str
    videos: bytes
    totals: bytes


class Recorded(Struct, frozen=True, array_like=True, tag="recorded"):
    """Counter to dispatcher: what was published of this batch is in the ledger, committed."""

    batch: str


class Recall(Struct, frozen=True, array_like=True, tag="recall"):
    """Dispatcher to counter, on a new link: say all that is pending."""


class Linked(Struct, frozen=True, array_like=True, tag="linked"):
    """Supervisor to child, with a descriptor: a new link to that incarnation of a peer."""

    peer: str
    incarnation: int


class Ping(Struct, frozen=True, array_like=True, tag="ping"):
    """Supervisor to child: are you alive, and what are your figures?"""

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


class ConsumerFigures(Struct, frozen=True, array_like=True, tag="consumer"):
    """What a consumer holds: messages not yet finished, and nsqds it is connected to."""

    outstanding: int
    connections: int
    ready_count: int


class CounterFigures(Struct, frozen=True, array_like=True, tag="counter"):
    """What a ledger holds, since it began: plays, redeliveries, dead letters; videos, and pending."""

    counted: int
    redelivered: int
    dead_lettered: int
    videos: int
    pending_videos: int


class DispatcherFigures(Struct, frozen=True, array_like=True, tag="dispatcher"):
    """What was published since the state began, by trigger; what is pending and on its way now.

    `circuit`: what the last attempts say of the client (`attempts.Circuit`); `failures`: how many of
    them failed in a row.
    """

    realtime: int
    deadline: int
    overdue: int
    drain: int
    videos: int
    late: int
    failed: int
    late_by_client: int
    rejected: int
    pending_videos: int
    in_flight: int
    circuit: str
    failures: int


class ServiceFigures(Struct, frozen=True, array_like=True, tag="service"):
    """An actor that only serves a network address has nothing to say here."""


Figures: TypeAlias = ConsumerFigures | CounterFigures | DispatcherFigures | ServiceFigures


class Pong(Struct, frozen=True, array_like=True, tag="pong"):
    """Child to supervisor: alive, with its figures, and the bytes that wait in its mailbox."""

    number: int
    figures: Figures
    mailbox_bytes: int = 0


class Drained(Struct, frozen=True, array_like=True, tag="drained"):
    """Child to supervisor: nothing is held any more. `left` says what could not be finished."""

    left: str = ""


ConsumerInbox: TypeAlias = Counted
CounterInbox: TypeAlias = Plays | Rejected | Collect | Published | Recall
DispatcherInbox: TypeAlias = Pending | Collected | Recorded
ChildInbox: TypeAlias = Linked | Ping | Drain | Stopping | Shutdown
SupervisorInbox: TypeAlias = Ready | Resumed | Pong | Drained | MayEnd
Message: TypeAlias = ConsumerInbox | CounterInbox | DispatcherInbox | ChildInbox | SupervisorInbox
