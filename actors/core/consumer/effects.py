"""The effects of the consumer's rules, beside `Send`."""

from msgspec import Struct


class Finish(Struct, frozen=True):
    """Finish (FIN) messages on the nsqd connection that gave them. `ids`: the ids of the messages, 16 hex
    digits each, one directly after the other. `ready_count`: the RDY that holds with these FINs; it goes
    first, so that nsqd sends no more for them.
    """

    connection: int
    ids: bytes
    ready_count: int


class DeadLetter(Struct, frozen=True):
    """Publish these letters to the dead-letter topic. nsqd's answer is a call of `dead_lettered(number)`.

    `reasons`: the number of messages by reason, for the log.
    """

    number: int
    connection: int
    letters: list[bytes]
    reasons: dict[str, int]


class SetReadyCount(Struct, frozen=True):
    """Send RDY: nsqd may have this many messages in flight on the connection."""

    connection: int
    ready_count: int


class Reconnect(Struct, frozen=True):
    """Close this connection, and open a new one to the same nsqd at once."""

    connection: int


class Look(Struct, frozen=True):
    """Ask the nsqd of this connection how many messages wait. The answer is a call of `looked`."""

    connection: int
