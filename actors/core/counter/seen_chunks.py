"""What the seen messages of a ledger are stored as, and the answer to whether messages are new. Pure."""

from msgspec import Struct

PLAY_IDS = "play ids"  # in place of a source, which always has a "/": these are known by their play ids
_KEY_BYTES, _PLAY_BYTES = 8, 18


class SeenChunk(Struct, frozen=True):
    """The messages that one commit adds to one bucket: a row of the store.

    `received_ms`: when the last of them was received, on the clock of the ledger. `keys`: 8 bytes per
    message, little-endian; of the source `PLAY_IDS` 18 per play: its id, and its mark. `stamped`: False for
    messages that an earlier version stored, which kept no stamps.
    """

    source: str
    bucket: int
    received_ms: int
    keys: bytes
    stamped: bool = True

    @property
    def ids(self) -> int:
        """How many messages these are."""
        return len(self.keys) // bytes_an_id(self.source)


class Admitted(Struct, frozen=True):
    """Which messages of a column are new: their places, or None if all are.

    `reused`: how many of the new ones have an id that came before with another stamp. `duplicates`: how many
    of the others are not the messages that their plays were counted from.
    """

    places: list[int] | None = None
    reused: int = 0
    duplicates: int = 0


def bytes_an_id(source: str) -> int:
    """How many bytes of a row's keys a message of this source takes."""
    return _PLAY_BYTES if source == PLAY_IDS else _KEY_BYTES
