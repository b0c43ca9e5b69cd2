"""Message ids as nsqd's guid.go makes them: 64 bits, ordered by time, unique. Pure.

    | 42 bits: ticks of 2^20 ns since an epoch | 10 bits: node | 12 bits: sequence |

An id travels as 16 hexadecimal digits; the last three are the sequence. Callers pass the wall
clock. When the clock went back, or a tick's sequence is used up, nsqd waits; this module takes the next
tick. So ids keep rising, after a restart too if the factory gets the last tick used.
"""

import hashlib
import zlib

SEQUENCES = 4096
SUFFIXES = tuple(b"%03x" % sequence for sequence in range(SEQUENCES))
ID_EPOCH_TICKS = 1288834974288
_SEQUENCE_BITS = 12
_NODE_BITS = 10
TICK_SHIFT = _SEQUENCE_BITS + _NODE_BITS  # an id, shifted right by this many bits, is its tick


class IdFactory:
    """Hands out blocks of consecutive ids within one tick. `node_id` is from 0 to 1023."""

    def __init__(self, node_id: int, last_tick: int = 0) -> None:
        """`last_tick`: the highest tick that an earlier process used; 0 if there was none."""
        self.node_id = node_id
        self.last_tick = last_tick
        self._next_sequence = SEQUENCES

    def take(self, count: int, now_ns: int) -> tuple[int, int]:
        """Take up to `count` ids, at least one. Returns the first, as a number, and how many were taken."""
        tick = (now_ns >> 20) - ID_EPOCH_TICKS
        if tick > self.last_tick:
            self.last_tick, self._next_sequence = tick, 0
        elif self._next_sequence == SEQUENCES:
            self.last_tick, self._next_sequence = self.last_tick + 1, 0
        sequence = self._next_sequence
        granted = min(count, SEQUENCES - sequence)
        self._next_sequence = sequence + granted
        first_id = self.last_tick << TICK_SHIFT | self.node_id << _SEQUENCE_BITS | sequence
        return first_id, granted


def node_id_of(hostname: str) -> int:
    """nsqd's default node id for a host (nsqd/options.go)."""
    return zlib.crc32(hashlib.md5(hostname.encode(), usedforsecurity=False).digest()) % 1024


def id_prefix(first_id: int) -> bytes:
    """The 13 hexadecimal digits that all ids of a block share."""
    return b"%013x" % (first_id >> _SEQUENCE_BITS)


def id_sequence(first_id: int) -> int:
    """The sequence within the tick at which a block begins, 0 to 4095."""
    return first_id & (SEQUENCES - 1)
