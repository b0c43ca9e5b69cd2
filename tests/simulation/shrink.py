"""Makes a failing plan shorter: removes faults and plays, and simplifies, while it fails in the same way."""

from collections.abc import Callable, Iterator

from msgspec import structs

from .checks import Invariant
from .plan import Plan
from .process import Machines
from .simulate import failure_of

TRIES_MAX = 600
SIMPLER = (
    {"drains": False},
    {"every_play": False},
    {"linger_ms": 0},
    {"shards": 1},
    {"videos": 1},
    {"latency_ms": 2},
    {"max_in_flight": 64},
    {"window_ms": 3_600_000},
    {"luck": 0},
)


def shrink(plan: Plan, invariant: Invariant, machines: Machines = Machines()) -> Plan:
    """The shortest plan found that breaks the same invariant."""

    def fails(candidate: Plan) -> bool:
        violation = failure_of(candidate, machines)
        return violation is not None and violation.invariant is invariant

    return _shortest(plan, fails)


def _shortest(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    tries = TRIES_MAX
    shorter = True
    while shorter:
        shorter = False
        for candidate in shorter_plans(plan):
            if tries == 0:
                return plan
            tries -= 1
            if fails(candidate):
                plan, shorter = candidate, True
                break
    return plan


def shorter_plans(plan: Plan) -> Iterator[Plan]:
    """Plans that are a little shorter, the largest steps first.

    A video on which the client fails is found by other videos that it takes. Then all plays stay.
    """
    for field in ("faults",) if plan.fails else ("faults", "plays"):
        items = getattr(plan, field)
        size = len(items)
        while size:
            for start in range(0, len(items), size):
                yield structs.replace(plan, **{field: items[:start] + items[start + size :]})
            size //= 2
    for simpler in SIMPLER:
        if plan.fails and "videos" in simpler:
            continue
        if any(getattr(plan, name) != value for name, value in simpler.items()):
            yield _fitting(plan, simpler)


def _fitting(plan: Plan, simpler: dict[str, int]) -> Plan:
    changed = structs.replace(plan, **simpler)
    if "videos" in simpler:
        plays = tuple(structs.replace(play, video=min(play.video, 0)) for play in plan.plays)
        changed = structs.replace(changed, plays=plays)
    if "shards" in simpler:
        renamed = tuple(
            structs.replace(fault, who="counter-0") if fault.who.startswith("counter") else fault
            for fault in plan.faults
        )
        changed = structs.replace(changed, faults=renamed)
    return changed
