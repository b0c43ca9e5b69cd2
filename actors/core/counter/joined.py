"""Joins the plays of several messages: a call of the ledger costs more than a thousand plays. Pure."""

from ..messages import Plays


def joined(messages: list[Plays]) -> list[Plays]:
    """One message per source, with the plays of all, in their order. Only the first number is kept.

    Plays that name their identity are in one message, whatever their sources are. It has the first source.
    """
    by_source: dict[str, list[Plays]] = {}
    for one in messages:
        by_source.setdefault("" if one.play_ids else one.source, []).append(one)
    return [several[0] if len(several) == 1 else _join(several) for several in by_source.values()]


def _join(several: list[Plays]) -> Plays:
    return Plays(
        several[0].number,
        several[0].source,
        b"".join([one.ids for one in several]),
        b"".join([one.videos for one in several]),
        b"".join([one.arrived_ns for one in several]),
        min([one.received_ms for one in several if one.received_ms], default=0),
        b"".join([one.play_ids for one in several]),
    )
