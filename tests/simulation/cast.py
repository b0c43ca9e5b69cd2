"""Makes the actors of a run: the real ones, with the rules, stores, source and sink of the run."""

import functools
from random import Random
from typing import Any

from actors import config
from actors.config import Settings
from actors.core.consumers import is_consumer
from actors.core.counter.rules import DISPATCHER
from actors.supervision.actor import StartArgs

from . import parts
from .client import BATCH_SIZE_MAX
from .plan import PLAY_ID, Plan
from .process import Process
from .waiting import OVERDUE_LINGER_MS, Waiting
from .watched import (
    WatchedConsumer,
    WatchedCounter,
    WatchedDispatcher,
    watched_counting,
    watched_dispatching,
)


def make_actor(process: Process) -> Any:
    """The actor of a starting process."""
    world = process.world
    orders = world.changes.orders_of(process.name)
    start_args = StartArgs(process.name, process.incarnation, "", settings_of(world.plan), orders=orders)
    if is_consumer(process.name):
        return _consumer(process, start_args)
    if process.name == DISPATCHER:
        return _dispatcher(process, start_args)
    return _counter(process, start_args)


@functools.lru_cache(maxsize=1)
def settings_of(plan: Plan) -> Settings:
    """The settings of a run, as a config file would have them."""
    return config.Settings(
        nsq=config.NsqSection(
            consumers=plan.consumers,
            max_in_flight=plan.max_in_flight,
            play_id=PLAY_ID if plan.play_ids else "",
        ),
        counters=config.CountersSection(shards=plan.shards, dedupe_window_s=plan.window_ms / 1000),
        dispatch=config.DispatchSection(
            realtime_below=plan.realtime_below,
            deadline_s=plan.deadline_ms / 1000,
            batch_size_max=BATCH_SIZE_MAX,
            realtime_linger_ms=plan.linger_ms,
            overdue_linger_ms=OVERDUE_LINGER_MS,
            realtime="every_play" if plan.every_play else "coalesce",
        ),
        publish=config.PublishSection(
            in_flight_max=plan.in_flight_max,
            realtime_wait_max_ms=plan.realtime_wait_ms,
            rate_max_per_s=plan.rate_max_per_s,
        ),
    )


def _consumer(process: Process, start_args: StartArgs) -> WatchedConsumer:
    machines = process.world.machines
    # The RDYs of the simulation are small: a small unit is held, too.
    rules = type(
        machines.deliveries.__name__,
        (machines.deliveries,),
        {"unit_min": 3, "identities_type": machines.identities},
    )
    return WatchedConsumer(
        start_args,
        process,
        lambda settings, listener, known: parts.Source(process, listener),
        rules,
        machines.ready_counts,
        machines.stalls,
    )


def _counter(process: Process, start_args: StartArgs) -> WatchedCounter:
    world, machines = process.world, process.world.machines
    actor: WatchedCounter

    def rules(*arguments: Any) -> Any:
        own = {"backlog_plays": world.plan.backlog_plays, "recall_videos": world.plan.recall_videos}
        kind = type(machines.counting.__name__, (machines.counting,), own)
        return watched_counting(kind, actor, world.oracle)(*arguments)

    actor = WatchedCounter(
        start_args,
        process,
        lambda settings, shard, say_loading, may_make: parts.Ledger(process),
        rules,
        machines.ledger,
        machines.seen,
    )
    return actor


def _dispatcher(process: Process, start_args: StartArgs) -> WatchedDispatcher:
    world = process.world
    waiting, sink = Waiting(world.plan), parts.Sink(process)
    actor = WatchedDispatcher(
        start_args,
        process,
        lambda settings: sink,
        lambda settings, compare, may_make: parts.Outbox(process),
        watched_dispatching(world.machines.dispatching, waiting, sink, world.clock),
        Random(world.plan.luck).random,
        lambda settings: None,
    )
    actor.waiting = waiting
    return actor
