"""What the three actors say of themselves with every answer to a ping. Supervision carries it as bytes."""

from typing import TypeAlias

import msgspec
from msgspec import Struct


class ConsumerStats(Struct, frozen=True, array_like=True, tag="consumer"):
    """What a consumer holds: messages not yet finished, and nsqds it is connected to."""

    outstanding: int
    connections: int
    ready_count: int


class CounterStats(Struct, frozen=True, array_like=True, tag="counter"):
    """What a ledger holds, since it began: plays, redeliveries, dead letters; videos, and pending."""

    counted: int
    redelivered: int
    dead_lettered: int
    videos: int
    pending_videos: int


class DispatcherStats(Struct, frozen=True, array_like=True, tag="dispatcher"):
    """What was published since the state began, by trigger; what is pending and on its way now.

    `circuit`: what the last attempts say of the client (`attempts.Circuit`); `failures`: how many of
    them failed in a row.
    """

    realtime: int
    deadline: int
    overdue: int
    drain: int
    videos: int
    late: int
    failed: int
    late_by_client: int
    rejected: int
    pending_videos: int
    in_flight: int
    circuit: str
    failures: int


Stats: TypeAlias = ConsumerStats | CounterStats | DispatcherStats
_decoder: msgspec.msgpack.Decoder[Stats] = msgspec.msgpack.Decoder(Stats)


def encode(stats: Stats) -> bytes:
    """The bytes that travel."""
    return msgspec.msgpack.encode(stats)


def decode(data: bytes) -> Stats:
    """What an actor said. Raises `msgspec.DecodeError`."""
    return _decoder.decode(data)
