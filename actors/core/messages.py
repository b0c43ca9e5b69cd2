"""Every message between two actors, and one union per mailbox.

Promises: a message is frozen, checked when it is decoded, and safe to receive twice. How it travels is
supervision's business. Many plays or videos travel as columns, one packed buffer each, because one Python
object per play would be slow. `core/columns.py` packs and unpacks them:

    ids         8 bytes per play, big-endian: the NSQ message id
    play_ids   16 bytes per play: its identity, if its body names one
    videos     16 bytes per video: its GUID
    numbers     8 bytes each, native byte order: nanoseconds since 1970, or numbers of plays
"""

from typing import TypeAlias

from msgspec import Struct

NO_ROW = -1


class Plays(Struct, frozen=True, array_like=True, tag="plays"):
    """Consumer to counter: plays of that counter's videos, from one read of one nsqd.

    `number`: the answer, `Counted`, refers to it. `source`: all names of the nsqd, and the topic, as in
    "127.0.0.1:4150 localhost:4150/plays"; message ids are unique per source only. The columns have one value
    per play; `arrived_ns` is NSQ's stamp. `received_ms`: when the consumer received them, on the machine's
    monotonic clock; 0 if that is not known. `play_ids`: with `nsq.play_id`, what identifies the plays in
    place of source, id and stamp; empty without it.
    """

    number: int
    source: str
    ids: bytes
    videos: bytes
    arrived_ns: bytes
    received_ms: int = 0
    play_ids: bytes = b""


class Rejected(Struct, frozen=True, array_like=True, tag="rejected"):
    """Consumer to counter: messages that are not plays; they are on the dead-letter topic now.

    They are counted like plays, so that their number stays exact through kills.
    """

    number: int
    source: str
    ids: bytes
    arrived_ns: bytes


class Counted(Struct, frozen=True, array_like=True, tag="counted"):
    """Counter to consumer: the `Plays` and `Rejected` with these numbers are committed to the ledger."""

    numbers: list[int]


class Pending(Struct, frozen=True, array_like=True, tag="pending"):
    """Counter to dispatcher: these videos have unpublished plays.

    `arrived_ns`: when the oldest such play arrived on the queue (NSQ's stamp). `ordinals`: the total that
    this play made; with it the dispatcher decides whether the video is realtime or has a deadline.
    `received_ms`: when the consumer received the oldest of these plays, as in `Plays`. `totals`: the total of
    each video, if the counter has put it into the video's next batch already; 0 if it has to be asked for it.
    An empty column: 0 for all. `commits`: how many commits the ledger has.
    """

    videos: bytes
    arrived_ns: bytes
    ordinals: bytes
    received_ms: int = 0
    totals: bytes = b""
    commits: int = 0


class Collect(Struct, frozen=True, array_like=True, tag="collect"):
    """Dispatcher to counter: a batch leaves; send the present totals of these videos."""

    number: int
    videos: bytes


class Collected(Struct, frozen=True, array_like=True, tag="collected"):
    """Counter to dispatcher: the answer to `Collect`, without videos whose total the client has already.

    `commits`: how many commits the ledger has. `recalls`: said of a `Collect` without videos: the counter has
    pending videos that it has not announced yet, because a recall goes on. It is to be asked again.
    """

    number: int
    videos: bytes
    totals: bytes
    arrived_ns: bytes
    commits: int = 0
    recalls: bool = False


class CollectPublished(Struct, frozen=True, array_like=True, tag="collect_published"):
    """Dispatcher to counter: send totals that the client had, to be published again.

    `videos`: of these; empty: of the videos from row `row` of the ledger on, at most `videos_max`.
    """

    number: int
    videos_max: int
    row: int
    videos: bytes = b""


class CollectedPublished(Struct, frozen=True, array_like=True, tag="collected_published"):
    """Counter to dispatcher: the answer to `CollectPublished`, without videos that were never published.

    `totals`: the last ones that the client confirmed. `next_row`: where to go on; `NO_ROW` after the last
    row.
    """

    number: int
    videos: bytes
    totals: bytes
    next_row: int


class Published(Struct, frozen=True, array_like=True, tag="published"):
    """Dispatcher to counter: the client has accepted these totals, which were in the batches with these keys.

    A video may be there more than once. `stores`: how many stores the dispatcher has made.
    """

    batches: list[str]
    videos: bytes
    totals: bytes
    stores: int = 0


class Recorded(Struct, frozen=True, array_like=True, tag="recorded"):
    """Counter to dispatcher: the published totals of these batches are committed to the ledger.

    `commits`: how many commits the ledger has.
    """

    batches: list[str]
    commits: int = 0


class Recall(Struct, frozen=True, array_like=True, tag="recall"):
    """Dispatcher to counter, on a new link: send all pending videos. A counter does so in pieces."""


ConsumerInbox: TypeAlias = Counted
CounterInbox: TypeAlias = Plays | Rejected | Collect | CollectPublished | Published | Recall
DispatcherInbox: TypeAlias = Pending | Collected | CollectedPublished | Recorded
Message: TypeAlias = ConsumerInbox | CounterInbox | DispatcherInbox
