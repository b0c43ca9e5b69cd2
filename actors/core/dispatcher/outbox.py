"""A batch as it is stored and published: its content, its key, its stage.

Pure. A batch carries absolute totals, so it is safe to send it twice under one key. The key is a hash of the
content, and totals only grow: the same key always means the same content, and new content always has a new
key. The same content gets a new key only if its key has a new number (`numbered_keys.py`).
"""

from enum import StrEnum
from hashlib import blake2b

from msgspec import Struct, json, structs

from .. import guids
from ..shards import shard_of
from ..stats import DispatcherStats
from ..triggers import Trigger
from .lead_time import PublishTime
from .republish import Place


class Stage(StrEnum):
    """How far a stored batch got. SENDING: the client may have it. ACCEPTED: the client has it. REFUSED: the
    client has none of it, and has answered with a 5xx (`numbered_keys.py`).
    """

    SENDING = "sending"
    ACCEPTED = "accepted"
    REFUSED = "refused"


class Entry(Struct, frozen=True, array_like=True):
    """One video in a batch: its total, and the arrival (ns since 1970) of the oldest play that the client
    lacked; 0 in a republish.

    `overdue`: the deadline of that play had passed when it was received.
    """

    video: bytes
    plays: int
    arrived_ns: int
    overdue: bool = False


class Batch(Struct, frozen=True, array_like=True):
    """What one publish carries: up to twenty videos, each once.

    `key_number`: how many keys this content had before. `server_errors`: how many 5xx in a row the client has
    answered under this key. `place`: of a republish: how far it has got once the client has this batch.
    """

    key: str
    trigger: Trigger
    entries: list[Entry]
    stage: Stage = Stage.SENDING
    key_number: int = 0
    server_errors: int = 0
    place: Place | None = None

    @property
    def videos(self) -> list[bytes]:
        """The videos in the batch (16 bytes each)."""
        return [entry.video for entry in self.entries]

    def shards(self, shards: int) -> set[int]:
        """Those of `shards` shards whose videos are in the batch."""
        return {shard_of(entry.video, shards) for entry in self.entries}

    def accepted(self) -> "Batch":
        """The same batch, at the stage ACCEPTED."""
        return structs.replace(self, stage=Stage.ACCEPTED)


class PublishTotals(Struct, frozen=True, array_like=True):
    """What was published since the state began, by trigger, and in all. Stored with each batch.

    `late`: videos published after their deadline, or held for longer than a deadline after receipt.
    `late_by_client`: those of them that would have been in time if the client had answered at once.
    `failed`: attempts without a 2xx. `rejected`: those of them whose answer said that the request itself is
    wrong. `client`: the last client's name. `publish_time`: how long publishes took, so that a restarted
    dispatcher need not guess. `receiver`: who the last client was, wherever it listened; "" in totals of an
    earlier version. `stores`: how many stores the dispatcher has made. `commits`: by shard, how many commits
    its ledger had when the dispatcher last heard of it. `attempts`: how many have left; stored before each of
    them leaves. `width`: the widest batch that the client takes; 0 if it takes any. New fields go to the end,
    because stored totals lack them.
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
    publish_time: PublishTime | None = None
    republish: int = 0
    receiver: str = ""
    stores: int = 0
    commits: dict[int, int] = {}
    attempts: int = 0
    width: int = 0

    def taken_over(self) -> "PublishTotals":
        """These totals for a dispatcher that starts: an attempt that left and was not accepted has failed.

        An earlier version did not store the attempts; then those that it knew of are all.
        """
        accepted: int = sum(getattr(self, trigger) for trigger in Trigger)
        attempts = max(self.attempts, accepted + self.failed)
        return structs.replace(self, attempts=attempts, failed=attempts - accepted)

    def published_to(self, client: str, receiver: str = "") -> "PublishTotals":
        """These totals for a dispatcher that publishes to `client`: without what was learned of another
        client.
        """
        here = self
        if client != self.client:
            here = structs.replace(self, client=client, publish_time=None, width=0)
        return structs.replace(here, receiver=receiver)

    def stats(
        self, pending_videos: int, in_flight: int, circuit: str, failures: int, republishing: int = 0
    ) -> DispatcherStats:
        """The statistics of a dispatcher with these totals."""
        names = DispatcherStats.__struct_fields__
        counts = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return DispatcherStats(
            **counts,
            pending_videos=pending_videos,
            in_flight=in_flight,
            circuit=circuit,
            failures=failures,
            republishing=republishing,
        )

    def heard_of(self, shard: int, commits: int) -> "PublishTotals":
        """These totals, with the commits that a shard's ledger has."""
        if commits <= self.commits.get(shard, 0):
            return self
        return structs.replace(self, commits=self.commits | {shard: commits})

    def plus(self, **more: int) -> "PublishTotals":
        """These totals with some fields increased."""
        for name in more:
            more[name] += getattr(self, name)
        return structs.replace(self, **more)


def make_batch(
    service: str, trigger: Trigger, entries: list[Entry], key_number: int = 0, place: Place | None = None
) -> Batch:
    """A new batch. Its key is a hash of the content and of `service`, the id that the state began with.

    `key_number`: how many keys the same content had before. `place`: of a republish. Its number is in the key
    too: a second republish of the same totals is sent on purpose.
    """
    number = f" key {key_number}" if key_number else ""
    republish = "" if place is None else f" republish {place.republish}"
    digest = blake2b(f"{service} {trigger}{number}{republish}".encode(), digest_size=16)
    for entry in entries:
        numbers = f" {entry.plays} {entry.arrived_ns} {entry.overdue:d}"
        digest.update(entry.video + numbers.encode())
    return Batch(digest.hexdigest(), trigger, entries, key_number=key_number, place=place)


def payload_json(batch: Batch) -> bytes:
    """The publish as the client gets it, in JSON."""
    return json.encode(payload(batch))


def payload(batch: Batch) -> dict[str, object]:
    """The publish as the client gets it: a JSON object."""
    return {
        "batch": batch.key,
        "trigger": str(batch.trigger),
        "videos": [_payload_of(entry) for entry in batch.entries],
    }


def _payload_of(entry: Entry) -> dict[str, object]:
    arrived = {"arrived_at_ns": entry.arrived_ns} if entry.arrived_ns else {}
    overdue = {"overdue": True} if entry.overdue else {}
    return {"video_id": guids.text(entry.video), "plays": entry.plays, **arrived, **overdue}
