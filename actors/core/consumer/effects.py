"""What the consumer's rules ask for beside `Send`."""

from msgspec import Struct


class Finish(Struct, frozen=True):
    """FIN messages on the nsqd connection that gave them. `ids`: 16 hexadecimal digits each, in a row."""

    connection: int
    ids: bytes


class DeadLetter(Struct, frozen=True):
    """Put these on the dead-letter topic; the acknowledgement comes back as a call, with `number`.

    `reasons`: how many messages for which reason, for the log.
    """

    number: int
    connection: int
    letters: list[bytes]
    reasons: dict[str, int]


class SetReadyCount(Struct, frozen=True):
    """RDY: nsqd may have this many messages in flight on the connection."""

    connection: int
    ready_count: int
