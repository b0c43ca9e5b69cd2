"""The batches that a dispatcher holds, each in a state. One table says which state follows which.

    ASKED ──collected──▶ SENT ──accepted──▶ ACCEPTED ──recorded──▶ RECORDED
      │                  │  └──refused──▶ REFUSED          ▲
      └──nothing──▶ EMPTY│                   ▲key given up │accepted
                         └──unknown──▶ IN_DOUBT ──resent──▶ SENT_AGAIN
                                           ▲──refused, unknown──┘

Pure. A batch that was refused while it was in doubt stays in doubt: a refusal says nothing about the
attempts before it, and one of them may have reached the client. It is not in doubt any more when its key is
given up, after several 5xx in a row (`numbered_keys.py`), or when the client refuses what is in it: the
attempts before had the same content.
"""

from collections.abc import Iterator, KeysView
from enum import Enum, StrEnum

from msgspec import Struct, field

from ..columns import by_video
from ..messages import Collected
from ..triggers import Trigger
from .attempts import Outcome
from .client_delays import ClientDelays
from .halving import Part
from .outbox import Batch, Entry, Stage
from .pending import NEVER_MS
from .republish import Place
from .schedule import Schedule


class Phase(Enum):
    """What the dispatcher is doing."""

    IDLE = "idle"
    COLLECTING = "collecting"
    SENDING = "sending"
    BACKING_OFF = "backing off"


class BatchState(StrEnum):
    """How far a batch got."""

    ASKED = "asked for"  # the counters are asked for its totals
    EMPTY = "empty"  # no counter had a total for it
    SENT = "sent"  # stored, and on its way for the first time
    REFUSED = "refused"  # the client has none of it
    IN_DOUBT = "in doubt"  # the client may have it; it is sent again unchanged
    SENT_AGAIN = "sent again"
    ACCEPTED = "accepted"  # the client has it, and not every ledger has recorded that
    RECORDED = "recorded"


class BatchEvent(StrEnum):
    """What can happen to a batch."""

    COLLECTED = "collected"
    NOTHING_COLLECTED = "nothing collected"
    CLIENT_ACCEPTED = "accepted"
    CLIENT_REFUSED = "refused"
    OUTCOME_UNKNOWN = "unknown"
    CONTENT_REFUSED = "refused for its content"
    KEY_GIVEN_UP = "key given up"
    RESENT = "resent"
    ALL_RECORDED = "recorded"


NEXT = {
    (BatchState.ASKED, BatchEvent.COLLECTED): BatchState.SENT,
    (BatchState.ASKED, BatchEvent.NOTHING_COLLECTED): BatchState.EMPTY,
    (BatchState.SENT, BatchEvent.CLIENT_ACCEPTED): BatchState.ACCEPTED,
    (BatchState.SENT, BatchEvent.CLIENT_REFUSED): BatchState.REFUSED,
    (BatchState.SENT, BatchEvent.CONTENT_REFUSED): BatchState.REFUSED,
    (BatchState.SENT, BatchEvent.OUTCOME_UNKNOWN): BatchState.IN_DOUBT,
    (BatchState.SENT, BatchEvent.KEY_GIVEN_UP): BatchState.REFUSED,
    (BatchState.IN_DOUBT, BatchEvent.RESENT): BatchState.SENT_AGAIN,
    (BatchState.SENT_AGAIN, BatchEvent.CLIENT_ACCEPTED): BatchState.ACCEPTED,
    (BatchState.SENT_AGAIN, BatchEvent.CLIENT_REFUSED): BatchState.IN_DOUBT,
    (BatchState.SENT_AGAIN, BatchEvent.CONTENT_REFUSED): BatchState.REFUSED,
    (BatchState.SENT_AGAIN, BatchEvent.OUTCOME_UNKNOWN): BatchState.IN_DOUBT,
    (BatchState.SENT_AGAIN, BatchEvent.KEY_GIVEN_UP): BatchState.REFUSED,
    (BatchState.ACCEPTED, BatchEvent.ALL_RECORDED): BatchState.RECORDED,
}
EVENTS = {
    Outcome.ACCEPTED: BatchEvent.CLIENT_ACCEPTED,
    Outcome.REFUSED: BatchEvent.CLIENT_REFUSED,
    Outcome.UNKNOWN: BatchEvent.OUTCOME_UNKNOWN,
}
OVER = frozenset({BatchState.EMPTY, BatchState.REFUSED, BatchState.RECORDED})
ON_ITS_WAY = frozenset({BatchState.SENT, BatchState.SENT_AGAIN})


class Collection(Struct):
    """The totals of a batch that leaves, as far as the counters have answered.

    `asked`: the videos (16 bytes each) by shard. `unanswered`: the shards that have not answered. `place`: of
    a republish: where it goes on after these totals. `trial`: how often the client has refused the video, if
    it is tried again.
    """

    trigger: Trigger
    number: int = 0
    asked: dict[int, list[bytes]] = {}
    unanswered: set[int] = set()
    expires_ms: int = 0
    entries: dict[bytes, Entry] = {}
    place: Place | None = None
    trial: int = 0

    def is_expired(self, now_ms: int) -> bool:
        """Whether the time for the counters' answers is over."""
        return now_ms >= self.expires_ms

    def take(self, shard: int, message: Collected, schedule: Schedule, wall_ms: int) -> None:
        """Take the answer of a shard. Videos of which it had no new total leave the batch.

        `wall_ms`: the wall clock, in milliseconds since 1970.
        """
        for video, total, arrived_ns in by_video(message.videos, message.totals, message.arrived_ns):
            taken = schedule.taken(video)
            # With every_play one pending play may be overdue, while another, published first, is not.
            latest_ms = arrived_ns // 1_000_000 + schedule.rule.deadline_ms
            overdue = taken is not None and taken.overdue and latest_ms <= wall_ms
            self.entries[video] = Entry(video, total, arrived_ns, overdue)
        for video in self.asked[shard]:
            if video not in self.entries:
                schedule.release(video)
        self.unanswered.discard(shard)


class Group(Struct):
    """Batches that leave together: the counters are asked for all of them at once."""

    batches: int = 0


class HeldBatch(Struct, eq=False):
    """One batch in its state.

    `left_ms`: when the counters were asked, or it was sent again. `unrecorded`: the shards whose ledgers have
    yet to record it. `due_ms`: when it was due; `NEVER_MS` if an earlier dispatcher made it. `offered_ms`:
    see `client_delays.py`; None until it is sent. `sent_ms`: when it was last sent. `attempt`: the number of
    that attempt. `own_from_ms`: from when on our own time counts, for it and the others of its `group`.
    `part`: what it is a half of.
    `conflicts`: how often in a row the client said that it is at work on an attempt without an answer;
    `again_ms`: when to send it again, if it waits by itself; 0 if it does not.
    """

    collection: Collection
    left_ms: int
    state: BatchState = BatchState.ASKED
    batch: Batch | None = None
    unrecorded: set[int] = set()
    due_ms: int = NEVER_MS
    offered_ms: int | None = None
    sent_ms: int = 0
    attempt: int = 0
    own_from_ms: int = 0
    group: Group = field(default_factory=lambda: Group(1))
    part: Part | None = None
    conflicts: int = 0
    again_ms: int = 0

    @classmethod
    def stored(cls, batch: Batch, shards: set[int]) -> "HeldBatch":
        """A batch that an earlier dispatcher stored. `shards`: the shards whose videos are in it."""
        collection = Collection(batch.trigger)
        if batch.stage is Stage.ACCEPTED:
            return cls(collection, 0, BatchState.ACCEPTED, batch, shards)
        return cls(collection, 0, BatchState.IN_DOUBT, batch)

    def sent(self, delays: ClientDelays, now_ms: int) -> None:
        """Note that the batch is sent now, for the first time or again."""
        if self.state is BatchState.SENT_AGAIN:
            self.left_ms = now_ms
        if self.offered_ms is None:
            self.offered_ms = delays.offered_ms(min(now_ms, self.due_ms), now_ms)
        self.sent_ms = now_ms

    def waited(self, ms: int) -> None:
        """Note that the batch left `ms` later than it was sent, for a reason of ours."""
        assert self.offered_ms is not None, "the batch was not sent"
        self.left_ms += ms
        self.sent_ms += ms
        self.offered_ms += ms

    @property
    def content(self) -> Batch:
        """The content of the batch. Raises `AssertionError` while the counters are still asked for totals."""
        assert self.batch is not None, f"a batch that is {self.state} has no content"
        return self.batch


class Batches:
    """All batches that are not over, by state, in the order in which they got into it.

    `asked`: those for whose totals the counters are asked. `in_doubt`: those in doubt.
    """

    def __init__(self) -> None:
        self._by_state: dict[BatchState, dict[HeldBatch, None]] = {state: {} for state in BatchState}
        self.asked: KeysView[HeldBatch] = self._by_state[BatchState.ASKED].keys()
        self.in_doubt: KeysView[HeldBatch] = self._by_state[BatchState.IN_DOUBT].keys()
        self._sent = self._by_state[BatchState.SENT], self._by_state[BatchState.SENT_AGAIN]
        self._accepted: dict[str, HeldBatch] = {}  # by key: they are many

    def __iter__(self) -> Iterator[HeldBatch]:
        return iter([held for several in self._by_state.values() for held in several])

    def __len__(self) -> int:
        return sum(map(len, self._by_state.values()))

    @property
    def accepted(self) -> int:
        """How many batches the client has accepted, and not every ledger has recorded."""
        return len(self._accepted)

    @property
    def are_on_their_way(self) -> bool:
        """Whether any batch is sent and not answered."""
        return bool(self._sent[0] or self._sent[1])

    def begin(self, held: HeldBatch) -> HeldBatch:
        """Hold a batch from now on."""
        self._by_state[held.state][held] = None
        if held.state is BatchState.ACCEPTED:
            self._accepted[held.content.key] = held
        return held

    def move(self, held: HeldBatch, event: BatchEvent) -> BatchState:
        """Apply an event to a batch. Returns its new state. A batch that is over is not held any more.

        Raises `AssertionError` for an event that can't happen in the batch's state.
        """
        state = NEXT.get((held.state, event))
        if state is None:
            raise AssertionError(f"{event} can't happen to a batch that is {held.state}")
        del self._by_state[held.state][held]
        if held.state is BatchState.ACCEPTED:
            del self._accepted[held.content.key]
        held.state = state
        if state not in OVER:
            self.begin(held)
        return state

    def within(self, *states: BatchState) -> list[HeldBatch]:
        """The batches in one of these states."""
        if len(states) == 1:
            return list(self._by_state[states[0]])
        return [held for state in states for held in self._by_state[state]]

    def find(self, key: str, *states: BatchState) -> HeldBatch | None:
        """The batch with that key, if it is in one of these states."""
        for state in states:
            if state is BatchState.ACCEPTED:
                if key in self._accepted:
                    return self._accepted[key]
                continue
            for held in self._by_state[state]:
                if held.batch is not None and held.batch.key == key:
                    return held
        return None
