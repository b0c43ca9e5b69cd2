"""The dead letters of messages that are not plays. Pure."""

from . import bodies
from .effects import DeadLetter
from .frames import BadMessage


def dead_letter(
    number: int, connection: int, source: str, bad: list[BadMessage], bytes_max: int
) -> DeadLetter:
    """The dead letters of one `Rejected`, with why, when and from which `source` each message came."""
    reasons: dict[str, int] = {}
    letters: list[bytes] = []
    for one in bad:
        reasons[one.why] = reasons.get(one.why, 0) + 1
        facts = {
            "reason": one.why,
            "source": source,
            "id": one.id.decode(),
            "arrived_at_ns": one.arrived_ns,
        }
        letters += bodies.dead_letters(one.body, facts, bytes_max, one.cut)
    return DeadLetter(number, connection, letters, reasons)
