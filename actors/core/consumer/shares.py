"""Shares `max_in_flight` among connections by where the messages are. Pure.

The load of an nsqd is the number of messages that wait there (GET /stats says it, once a second) and the
number that came from it in about the last second. A sixteenth of `max_in_flight` is shared equally: an nsqd
that was idle has room before the next look. The rest is shared by load. So an nsqd with ten times the load of
every other one gets at least five times their shares, where there is enough to share. If one of several nsqds
would get more than half, all shares are smaller, so that it gets half: a play of another nsqd waits in the
counters behind all that is in flight.

Where nobody says what waits, an nsqd that uses all of its share counts as one with the greatest load.
"""

from collections.abc import Collection, Mapping

from msgspec import Struct

EQUALLY = 1 / 16  # the part of `max_in_flight` that all connections share equally

ROUNDING = 1e-9  # a share that is a whole number may be a little less as a float


class _Load(Struct):
    """`waiting`: None if nobody says. `received`: the messages of about the last second."""

    waiting: int | None = None
    received: float = 0.0


class Loads:
    """The load of each connection's nsqd."""

    def __init__(self) -> None:
        self._loads: dict[int, _Load] = {}

    def connected(self, connection: int) -> None:
        """Add a connection, of whose nsqd nothing is known."""
        self._loads[connection] = _Load()

    def disconnected(self, connection: int) -> None:
        """Forget a lost connection."""
        self._loads.pop(connection, None)

    def received(self, connection: int, messages: int) -> None:
        """Messages came on a connection."""
        self._loads[connection].received += messages

    def looked(self, connection: int, waiting: int | None) -> None:
        """So many messages wait in the nsqd of a connection; None if nobody can say."""
        if load := self._loads.get(connection):
            load.waiting = waiting

    def half_a_second_later(self) -> None:
        """Let what came count half. Called twice a second, this makes `received` the messages of a second."""
        for load in self._loads.values():
            load.received /= 2

    def of_all(self, full: Collection[int]) -> dict[int, float]:
        """Return the load of each connection. `full`: the connections that use all of their share."""
        known = {connection: (load.waiting or 0) + load.received for connection, load in self._loads.items()}
        greatest = max(known.values(), default=0.0)
        for connection in full:
            if self._loads[connection].waiting is None and self._loads[connection].received >= 1:
                known[connection] = greatest
        return known


def shares_by_load(
    max_in_flight: int, loads: Mapping[int, float], limits: Mapping[int, int]
) -> dict[int, int]:
    """Return the share of each connection: 1 or more, and `max_in_flight` or less together.

    `limits`: the most that each nsqd allows, 1 or more. There are at most `max_in_flight` connections.
    """
    shares: dict[int, int] = {}
    open_ones, left = list(loads), max_in_flight
    while open_ones:
        parts = _parts([loads[one] for one in open_ones])
        wanted = {one: left * part for one, part in zip(open_ones, parts, strict=True)}
        # First those that get 1 in any case, because they take from the others; then those with a limit.
        fixed = {one: 1 for one in open_ones if wanted[one] < 1}
        fixed = fixed or {one: limits[one] for one in open_ones if wanted[one] >= limits[one]}
        fixed = fixed or {one: int(wanted[one] + ROUNDING) for one in open_ones}
        shares |= fixed
        left -= sum(fixed.values())
        open_ones = [one for one in open_ones if one not in fixed]
    greatest = max(shares.values(), default=0)
    if len(shares) < 2 or greatest <= max_in_flight // 2:
        return shares
    return {one: max(1, share * (max_in_flight // 2) // greatest) for one, share in shares.items()}


def _parts(loads: list[float]) -> list[float]:
    """The part of each, 1 together."""
    whole = sum(loads)
    if not whole:
        return [1 / len(loads)] * len(loads)
    return [EQUALLY / len(loads) + (1 - EQUALLY) * (load / whole) for load in loads]
