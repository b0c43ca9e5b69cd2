"""One batch on its way to the client: what it carries, under which key, how far it got.

Pure. A batch is a set of absolute totals, so it is safe to send twice under one key. The key is made
from the content, and totals only grow: the same key means the same content, whoever made it and
however often, and other content can't get a key that was used.
"""

from enum import StrEnum
from hashlib import blake2b

from msgspec import Struct, structs

from .. import guids
from .lead_time import Pace


class Trigger(StrEnum):
    """Why a batch left."""

    REALTIME = "realtime"
    DEADLINE = "deadline"
    OVERDUE = "overdue"
    DRAIN = "drain"


class Stage(StrEnum):
    """How far a batch got. Sending: written down, outcome unknown. Accepted: the client has it."""

    SENDING = "sending"
    ACCEPTED = "accepted"


class Entry(Struct, frozen=True, array_like=True):
    """One video in a batch: its total, and the arrival of the oldest play the client did not know.

    `overdue`: that play was received when its deadline had passed already.
    """

    video: bytes
    plays: int
    arrived_ns: int
    overdue: bool = False


class Batch(Struct, frozen=True, array_like=True):
    """What one publish carries: up to twenty videos, each once."""

    key: str
    trigger: Trigger
    entries: list[Entry]
    stage: Stage = Stage.SENDING

    def accepted(self) -> "Batch":
        """The same batch, known to the client."""
        return structs.replace(self, stage=Stage.ACCEPTED)


class PublishTotals(Struct, frozen=True, array_like=True):
    """What was published since the state began, by trigger, and in all. Stored with each batch.

    `late`: videos after their deadline; `late_by_client`: those of them that would have been in time
    had the client answered at once. `failed`: attempts; `rejected`: those of them whose answer said that
    the request itself is wrong. `client`: who was last published to, by name; `pace`: what that took, so
    that a restarted dispatcher need not guess. New fields go to the end: those that are stored lack them.
    """

    realtime: int = 0
    deadline: int = 0
    overdue: int = 0
    drain: int = 0
    videos: int = 0
    late: int = 0
    failed: int = 0
    late_by_client: int = 0
    rejected: int = 0
    client: str = ""
    pace: Pace | None = None

    def told_to(self, client: str) -> "PublishTotals":
        """As one begins with them who publishes to this client: what another took tells nothing of it."""
        return self if client == self.client else structs.replace(self, client=client, pace=None)

    def plus(self, **more: int) -> "PublishTotals":
        """These totals with so many more of some fields."""
        return structs.replace(self, **{name: getattr(self, name) + n for name, n in more.items()})


def make_batch(service: str, trigger: Trigger, entries: list[Entry]) -> Batch:
    """A batch under the key that its content has in this service (an id that its state began with)."""
    digest = blake2b(f"{service} {trigger}".encode(), digest_size=16)
    for entry in entries:
        numbers = f" {entry.plays} {entry.arrived_ns} {entry.overdue:d}"
        digest.update(entry.video + numbers.encode())
    return Batch(digest.hexdigest(), trigger, entries)


def payload(batch: Batch) -> dict[str, object]:
    """The publish as INTERFACE says it: a JSON object."""
    return {
        "batch": batch.key,
        "trigger": str(batch.trigger),
        "videos": [
            {
                "video_id": guids.text(entry.video),
                "plays": entry.plays,
                "arrived_at_ns": entry.arrived_ns,
                **({"overdue": True} if entry.overdue else {}),
            }
            for entry in batch.entries
        ],
    }
