"""The promises that playtally makes to a client about publishes, and the record of a broken one.

Pure: only data; `audit.py` judges. It shares no rule with the code that publishes, on purpose: a mistake in
one of the two can't hide in the other.
"""

import enum
import hashlib

import msgspec

from ..triggers import Trigger


class Promise(enum.StrEnum):
    """A promise that is audited. The report counts how often it was broken under its value."""

    WIDTH = "width"  # 1 to batch_size_max videos in a publish
    ONCE = "once_a_batch"  # a video is in a publish at most once
    # These two are promised for every trigger but republish.
    CHANGED = "only_changed"  # a total differs from the last one published; before the first, that is 0
    NEVER_FALLS = "never_falls"  # a total is not below the last one published
    DEADLINE = "deadline"  # received by arrived_at_ns + deadline_s, unless overdue or late by the client
    ONE_CONTENT = "one_content_a_key"  # a key that is received again has the same content
    EVERY_PLAY = "every_play"  # no total below realtime_below is skipped; only where promised


class Promises(msgspec.Struct, frozen=True, kw_only=True):
    """What this client was promised: the values of the settings with these names."""

    realtime_below: int = 100
    deadline_s: float = 60
    batch_size_max: int = 20
    every_play: bool = False


class PublishedVideo(msgspec.Struct, frozen=True):
    """One video of a publish: its total, and the arrival of its oldest unpublished play on the queue; 0 in a
    republish.

    `overdue`: that play was received after its deadline, so no service could have kept the deadline.
    """

    video_id: str
    plays: int
    arrived_at_ns: int
    overdue: bool = False


class Publish(msgspec.Struct, frozen=True):
    """One publish as the client received it; `batch` is its key."""

    batch: str
    trigger: Trigger
    videos: tuple[PublishedVideo, ...]

    def fingerprint(self) -> bytes:
        """A hash of 16 bytes of all content but the key."""
        content = msgspec.msgpack.encode((self.trigger, self.videos))
        return hashlib.blake2b(content, digest_size=16).digest()


class Broken(msgspec.Struct, frozen=True):
    """One broken promise. `video_id` is None if the whole publish broke it."""

    promise: Promise
    batch: str
    video_id: str | None
    expected: str
    found: str
