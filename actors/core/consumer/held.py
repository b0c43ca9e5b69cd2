"""Plays of a backlog that are held for a moment, so that one commit of a counter counts many.

Pure. A commit costs about as much as a thousand plays, so a unit of a whole RDY takes half of the CPU time of
several small ones. Only plays that are late anyway are held.
"""

from msgspec import Struct

from .plays import PlayColumns

HOLD_MS_MAX = 10
LATE_MS = 50.0  # nsqd's own buffer explains half of that: it is a backlog
UNIT_MIN = 256  # a smaller RDY is no backlog: its messages may only look late, because a clock is wrong
FULL_TENTHS = 7  # of RDY: nsqd sends the rest meanwhile


class Unit(Struct):
    """Plays of one connection. `received_ms` and `since_ms` (see `Parcel`): of the first of them."""

    plays: PlayColumns
    received_ms: int
    since_ms: int


class HeldPlays:
    """The plays that are held, by connection."""

    def __init__(self, unit_min: int = UNIT_MIN):
        """`unit_min`: plays are held only if RDY is this or more."""
        self._unit_min = unit_min
        self._units: dict[int, Unit] = {}
        self.due_ms: int | None = None  # when to take the plays at the latest; None if none are held

    def add(self, connection: int, unit: Unit) -> None:
        """Hold these plays too."""
        if connection in self._units:
            self._units[connection].plays.add(unit.plays)
            return
        self._units[connection] = unit
        if self.due_ms is None:
            self.due_ms = unit.received_ms + HOLD_MS_MAX

    def is_due(self, connection: int, ready_count: int, newest_age_ms: float, now_ms: int) -> bool:
        """Whether to take the plays now, after a read from a connection with this RDY.

        `newest_age_ms`: the age of the newest play of the read.
        """
        if (
            self.due_ms is None
            or now_ms >= self.due_ms
            or ready_count < self._unit_min
            or newest_age_ms < LATE_MS
        ):
            return True
        unit = self._units.get(connection)
        return unit is not None and len(unit.plays) * 10 >= ready_count * FULL_TENTHS

    def take(self) -> dict[int, Unit]:
        """Hold no plays any more. Returns them by connection."""
        units, self._units, self.due_ms = self._units, {}, None
        return units

    def drop(self, connection: int) -> int:
        """Drop the plays of a lost connection, as nsqd gives them again. Returns how many they are."""
        unit = self._units.pop(connection, None)
        received_ms = min([one.received_ms for one in self._units.values()], default=None)
        self.due_ms = None if received_ms is None else received_ms + HOLD_MS_MAX
        return 0 if unit is None else len(unit.plays)
