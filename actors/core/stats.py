"""The figures that the actors report with every answer to a ping. Supervision carries them as bytes."""

from typing import TypeAlias

import msgspec
from msgspec import Struct

from .histogram import HistogramStats

# Pending videos are told by the share of a deadline that is left until they are due: up to each of these.
PENDING_SHARES = (0.0, 1 / 60, 1 / 30, 1 / 12, 1 / 6, 1 / 3, 1 / 2, 3 / 4, 1.0)


class NsqdStats(Struct, frozen=True, array_like=True):
    """An nsqd that a consumer reads, or tries to.

    `address`: its TCP address, as configured or discovered. `http_address`: where its HTTP is, "" if that is
    not known. `in_flight`: messages received from it and not finished. `last_age_ms`: how old the message
    last received from it was when it came, by nsqd's stamp; None before the first. `names`: all "host:port"s
    that lead to it, as far as is known. `held`: how many messages it held for us when it was last looked at,
    `looked_ms` ago; both None before the first look. `own_ends`: our end of the connection, which has lasted
    for `connected_ms`; of several consumers together (`service/consumers.py`) one of each. `wrong_http`: an
    HTTP address that the settings give and that is another nsqd's, else "". `is_checked`: whether that is
    known. `identity`: by what its messages are known beside its names: "node id", "node id and host name", or
    "address" for nothing. `node_id`, `host`: what is known of these.
    """

    address: str
    http_address: str
    connected: bool
    ready_count: int
    in_flight: int
    last_age_ms: int | None = None
    names: list[str] = []
    held: int | None = None
    looked_ms: int | None = None
    own_ends: list[str] = []
    connected_ms: int = 0
    wrong_http: str = ""
    is_checked: bool = True
    identity: str = "address"
    node_id: int | None = None
    host: str = ""


class ConsumerStats(Struct, frozen=True, array_like=True, tag="consumer"):
    """A consumer: messages received and not finished, connections to nsqds, and the sum of their RDYs.

    `oldest_age_ms`: how old the oldest play of the last minute was when it was received.
    `failed_finishes`: how many FINs its nsqds refused. `reconnects`: how many connections it replaced because
    nsqd's count of the messages in flight may have been wrong. Both since the consumer was started.
    `unheard`: the nsqlookupds, if none has answered since the service was started: then it is not known
    which nsqds there are. `reads`: how many reads had messages, and `reads_by_ticker`: how many of them left
    fewer in flight than RDY. Both since the service was started. `dead_letters`: by reason, since then too.
    `retired`: the identities that two nsqds had at once, since then too.
    """

    outstanding: int
    connections: int
    ready_count: int
    nsqds: list[NsqdStats] = []
    failed_finishes: int = 0
    reconnects: int = 0
    oldest_age_ms: int = 0
    unheard: list[str] = []
    reads: int = 0
    reads_by_ticker: int = 0
    dead_letters: dict[str, int] = {}
    retired: list[str] = []


class CounterStats(Struct, frozen=True, array_like=True, tag="counter"):
    """A ledger: plays, redeliveries and dead letters since it began; its videos, and how many are pending.

    `reused`: messages whose id had come before with another stamp. `commits`: how many the ledger has.
    `seen_ids`: how many message ids it knows. `commit_duration_s`: of the commits since the service began.
    `duplicates`: plays that had been counted, and came again in another message.
    """

    counted: int
    redelivered: int
    dead_lettered: int
    videos: int
    pending_videos: int
    reused: int = 0
    commits: int = 0
    seen_ids: int = 0
    commit_duration_s: HistogramStats = HistogramStats()
    duplicates: int = 0


class RefusedVideoStats(Struct, frozen=True, array_like=True):
    """A video (16 bytes) that the client refuses, alone. `plays`: the total that it refused last.

    `answer`: the client's words. `attempts`: how often it was refused. `next_attempt_ms`: until it is tried.
    """

    video: bytes
    plays: int
    answer: str
    attempts: int
    next_attempt_ms: int


class FailureStats(Struct, frozen=True, array_like=True):
    """A reason why attempts to publish failed: how often, first and last when (ms since 1970)."""

    reason: str
    count: int
    first_ms: int
    last_ms: int


class PublishStats(Struct, frozen=True, array_like=True):
    """Figures of the attempts to publish, since the service was started.

    `duration_s`: from when an attempt left until its answer, or until there was none. `realtime_latency_s`:
    of each video that left by the trigger realtime, from its arrival on the queue until the client had it.
    `deadline_slack_s`: of each video that left by deadline or overdue, what was left until its deadline when
    the client had it; 0 if it was late. `width`: videos in each accepted publish. `answers`: how many, by
    what the client answered ("200"). `failures`: the latest ones last. `pending`: videos in no batch, by
    `PENDING_SHARES`, each counted once.
    """

    duration_s: HistogramStats = HistogramStats()
    realtime_latency_s: HistogramStats = HistogramStats()
    deadline_slack_s: HistogramStats = HistogramStats()
    width: HistogramStats = HistogramStats()
    answers: dict[str, int] = {}
    failures: list[FailureStats] = []
    pending: list[int] = []

    @property
    def count(self) -> int:
        """How many attempts these figures are of."""
        return self.duration_s.count


class DispatcherStats(Struct, frozen=True, array_like=True, tag="dispatcher"):
    """The dispatcher: publishes since the state began, by trigger; pending videos, and batches in flight.

    `circuit`: the state of the circuit breaker (`attempts.Circuit`). `failures`: failed attempts in a row.
    `republishing`: requests to publish totals again that are not done. `refused`: how many videos the client
    refuses; `refused_videos`: the first of them. `width`: the widest batch that the client takes; 0 if any.
    `published`: more figures of its publishes. `unanswered`: batches that are sent and have no answer yet;
    `in_flight` has those that the ledgers have not recorded, too. `expired`: questions to counters
    (`Collect`, `CollectPublished`) without an answer in time, since the dispatcher began.
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
    republish: int = 0
    republishing: int = 0
    width: int = 0
    refused: int = 0
    refused_videos: list[RefusedVideoStats] = []
    published: PublishStats = PublishStats()
    unanswered: int = 0
    expired: int = 0


Stats: TypeAlias = ConsumerStats | CounterStats | DispatcherStats
_decoder: msgspec.msgpack.Decoder[Stats] = msgspec.msgpack.Decoder(Stats)


def encode(stats: Stats) -> bytes:
    """The stats as bytes."""
    return msgspec.msgpack.encode(stats)


def decode(data: bytes) -> Stats:
    """The stats from bytes. Raises `msgspec.DecodeError`."""
    return _decoder.decode(data)
