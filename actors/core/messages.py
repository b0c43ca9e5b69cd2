"""Every message between two actors; one union a mailbox.

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


ConsumerInbox: TypeAlias = Counted
CounterInbox: TypeAlias = Plays | Rejected | Collect | Published | Recall
DispatcherInbox: TypeAlias = Pending | Collected | Recorded
Message: TypeAlias = ConsumerInbox | CounterInbox | DispatcherInbox
