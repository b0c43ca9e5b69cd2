"""Who may have a message in flight, where there are more connections than `max_in_flight`. Pure.

As many connections as `max_in_flight` have their turn at a time, each with an RDY of 1. After a turn the next
one has it, in the order in which they wait. All have had a turn within a second, if there are at most
`WAITS_MAX_MS / ROUND_MS_MIN` connections for each message allowed.

A turn is handed on only when nothing is in flight on the connection. nsqd may have sent a message before it
saw RDY 0, so we wait a little for that message. If a message was in flight when RDY 0 was sent, nsqd sees RDY
0 before the FIN and sends no other. Then we need not wait.
"""

from collections import deque
from collections.abc import Mapping

from msgspec import Struct

WAITS_MAX_MS = 900.0  # until each connection had a turn; the time of a message in flight comes on top
ROUND_MS_MIN = 8.0
ROUND_MS_MAX = 500.0
TURN_PART = 0.5  # of a turn's time: RDY is 1
QUIET_PART = 0.25  # and then, how long we wait for a message after RDY 0
TICK_PART = 0.125  # how late we may notice either


class _Turn(Struct):
    """`left_ms`: when RDY 0 was sent; None while RDY is 1. `was_idle`: nothing was in flight then."""

    began_ms: int
    left_ms: int | None = None
    was_idle: bool = False


class Turns:
    """The connections that wait for a turn, and those that have one."""

    def __init__(self, max_in_flight: int):
        self._at_once = max_in_flight
        self._waiting: deque[int] = deque()
        self._turns: dict[int, _Turn] = {}

    @property
    def are_needed(self) -> bool:
        """Whether there are more connections than messages allowed."""
        return len(self._waiting) + len(self._turns) > self._at_once

    @property
    def round_ms(self) -> float:
        """How long a turn takes, until the next connection has it."""
        connections = max(1, len(self._waiting) + len(self._turns))
        return min(ROUND_MS_MAX, max(ROUND_MS_MIN, WAITS_MAX_MS * self._at_once / connections))

    def connected(self, connection: int) -> None:
        """Add a connection: it is the last to have a turn."""
        self._waiting.append(connection)

    def disconnected(self, connection: int) -> None:
        """Forget a lost connection."""
        if self._turns.pop(connection, None) is None:
            self._waiting.remove(connection)

    def ready_count(self, connection: int) -> int:
        """The RDY of a connection: 1 in its turn, else 0."""
        turn = self._turns.get(connection)
        return 1 if turn is not None and turn.left_ms is None else 0

    def tick(self, now_ms: int, in_flight: Mapping[int, int]) -> None:
        """End turns, and give turns to others. `in_flight`: the messages that each connection holds."""
        round_ms = self.round_ms
        for connection, turn in list(self._turns.items()):
            if turn.left_ms is None:
                if self._waiting and now_ms - turn.began_ms >= TURN_PART * round_ms:
                    turn.left_ms, turn.was_idle = now_ms, not in_flight[connection]
            elif not turn.was_idle or now_ms - turn.left_ms >= QUIET_PART * round_ms:
                del self._turns[connection]
                self._waiting.append(connection)
        taken = len(self._turns) + sum(in_flight[connection] for connection in self._waiting)
        for _ in range(min(len(self._waiting), self._at_once - taken)):
            self._turns[self._waiting.popleft()] = _Turn(now_ms)
