"""What an nsqd allows on a connection, and what it tells of itself."""

from msgspec import Struct


class Terms(Struct, frozen=True):
    """The terms of one connection.

    `ready_count_max`: the greatest RDY. `msg_timeout_ms`: nsqd gives a message again that is not finished
    within this time. `letter_bytes_max`: the largest message that may be published, as far as is known.
    `node_id`, `host`: what the nsqd tells over HTTP: the node id of its messages, and its host's name; None
    and "" if it tells nothing.
    """

    ready_count_max: int = 2500
    msg_timeout_ms: int = 60_000
    letter_bytes_max: int = 1024 * 1024
    node_id: int | None = None
    host: str = ""
