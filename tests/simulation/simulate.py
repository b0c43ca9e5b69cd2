"""One run of a plan, first with faults, then without: always safe, and in the end everything converges."""

import logging

from msgspec import Struct

from actors.core.counter.rules import DISPATCHER
from actors.core.triggers import Trigger

from .checks import Invariant, Violation
from .outside import Delivery
from .plan import Plan
from .process import Machines
from .trace import Trace
from .world import World, without

LOOK_MS = 100
# Added to a deadline. The longest back-off is 10 s; a restart, a message timeout and a wrong clock: 8 s.
CONVERGES_WITHIN_MS = 23_000
# A client that keeps its answers repeats a 5xx for five attempts, some of them before the faults stop.
KEEPS_ANSWERS_MS = 50_000
# What was taken for refused in an outage is tried after 10, 20, 40 and 80 s.
REFUSES_MS = 150_000


class Result(Struct, frozen=True):
    """What a run covered. It shows whether the run tests anything."""

    killed: tuple[str, ...]
    ended_ms: int
    plays_judged: int
    realtime_ms: int
    accepted: tuple[Delivery, ...]


def simulate(plan: Plan, machines: Machines = Machines(), trace: Trace | None = None) -> Result:
    """Run a plan. Raises `Violation` at the first invariant that does not hold."""
    logging.disable()  # the actors log the planned faults
    try:
        world = World(plan, machines, trace)
        _run(world)
    except Violation:
        raise
    except Exception as error:
        raise Violation(Invariant.NO_CRASH, f"{type(error).__name__}: {error}") from error
    finally:
        logging.disable(logging.NOTSET)
    client, accepted = world.client, tuple(world.outside.accepted)
    return Result(tuple(world.killed), world.clock.now_ms, client.plays_judged, client.realtime_ms, accepted)


def failure_of(plan: Plan, machines: Machines = Machines(), trace: Trace | None = None) -> Violation | None:
    """The invariant that a plan breaks, or None."""
    try:
        simulate(plan, machines, trace)
    except Violation as violation:
        return violation
    return None


def _run(world: World) -> None:
    clock, plan, ends_ms = world.clock, world.plan, world.plan.ends_ms
    while clock.now_ms <= ends_ms and clock.step():
        pass
    drains, look_ms = plan.drains, clock.now_ms
    within_ms = CONVERGES_WITHIN_MS + (KEEPS_ANSWERS_MS if plan.keeps_answers else 0)
    within_ms += REFUSES_MS if plan.refuses else 0
    while clock.now_ms <= ends_ms + plan.deadline_ms + within_ms:
        still = not clock.step()
        if clock.now_ms < look_ms and not still:
            continue
        look_ms = clock.now_ms + LOOK_MS
        if drains and _is_counted(world):
            drains = False
            dispatcher = world.processes[DISPATCHER]
            world.run(dispatcher, dispatcher.actor.drain)
            continue
        if not drains and _is_counted(world) and _is_published(world):
            _compare(world)
            if not plan.drains:
                world.client.check_republishes()
            return
        if still:
            break  # no event is left
    raise Violation(Invariant.CONVERGES, _leftovers(world))


def _is_counted(world: World) -> bool:
    """Whether all processes are linked, and neither the queues nor the consumers hold a message."""
    processes = world.processes
    links = sum(len(process.links) for process in processes.values() if process.alive)
    return (
        links == 2 * (1 + world.plan.consumers) * world.plan.shards
        and not any(queue.messages for queue in world.outside.queues)
        and world.outstanding == 0
    )


def _is_published(world: World) -> bool:
    """Whether nothing is held, pending or on its way between the counters and the client."""
    counters = [process for name, process in world.processes.items() if name.startswith("counter")]
    return (
        world.processes[DISPATCHER].actor.rules.drained
        and (world.plan.drains or world.refused() <= world.outside.never)
        and all(set(batch.videos) <= world.refused() for batch in world.outbox.batches.values())
        and (world.plan.drains or not world.outbox.republishes)  # a drain leaves them for the next start
        and sum(one.actor.rules.ledger.pending_count for one in counters) == len(_left_out(world))
        and all(not one.actor.effects._todo for one in [world.processes[DISPATCHER], *counters])
    )


def _left_out(world: World) -> set[bytes]:
    """The videos that are not told: after a drain those that are refused, else those that never are taken."""
    if world.plan.drains:
        return world.refused() & {video for disk in world.ledgers for video in disk.pending()}
    return world.outside.never & world.oracle.totals.keys()


def _compare(world: World) -> None:
    totals, bad = world.oracle.totals, world.oracle.bad
    left_out = _left_out(world)
    if left_out != world.refused() and not world.plan.drains:
        raise Violation(
            Invariant.ALONE, f"{len(left_out)} are refused, and {len(world.refused())} taken for it"
        )
    committed, published = {}, {}
    for disk in world.ledgers:
        committed |= {video: account.total for video, account in disk.accounts.items()}
        published |= {video: account.published for video, account in disk.accounts.items()}
    if committed != totals:
        raise Violation(Invariant.EXACT_TOTALS, "the ledgers are not what was acknowledged")
    if without(published, left_out) != without(totals, left_out):
        raise Violation(Invariant.EXACT_TOTALS, "the ledgers' published are not what was acknowledged")
    if without(world.client.totals, left_out) != without(totals, left_out):
        raise Violation(Invariant.EXACT_TOTALS, "the client's totals are not what was acknowledged")
    stored, stats = world.outbox.totals, world.processes[DISPATCHER].actor.rules.stats()
    accepted = sum(getattr(stats, trigger) for trigger in Trigger)
    if accepted + stats.failed != stored.attempts:
        found = f"{accepted} accepted, {stats.failed} failed, and {stored.attempts} left"
        raise Violation(Invariant.ATTEMPTS, found)
    counted = sum(disk.tallies.counted for disk in world.ledgers)
    letters = sum(disk.tallies.dead_lettered for disk in world.ledgers)
    if (counted, letters) != (sum(totals.values()), bad):
        found = f"{counted} plays and {letters} dead letters; sent {sum(totals.values())} and {bad}"
        raise Violation(Invariant.EXACT_TOTALS, found)


def _leftovers(world: World) -> str:
    processes = world.processes
    facts = [f"{len(queue.messages)} messages on {queue.name}" for queue in world.outside.queues]
    facts += [f"{process} {'lives' if process.alive else 'is dead'}" for process in processes.values()]
    facts += [
        f"{world.outstanding} outstanding",
        f"written: {len(world.outbox.batches)}",
    ]
    facts += [f"the dispatcher is {processes[DISPATCHER].actor.rules.phase.value}"]
    facts += [
        f"{process} has {process.actor.rules.ledger.pending_count} pending"
        for name, process in processes.items()
        if name.startswith("counter")
    ]
    return "; ".join(facts)
