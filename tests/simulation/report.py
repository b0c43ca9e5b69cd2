"""A failure as text: its seed, a shorter plan that fails in the same way, and the end of that plan's trace.

`seeds.txt` keeps every seed that ever failed. Each line has one seed and the bug that the seed found.
"""

from pathlib import Path

from .checks import Violation
from .plan import BAD, Plan, draw
from .process import Machines
from .shrink import shrink
from .simulate import failure_of
from .trace import Trace

KEPT = Path(__file__).with_name("seeds.txt")
TRACE_LINES = 60


def kept_seeds() -> list[int]:
    """Every seed that ever failed."""
    lines = KEPT.read_text(encoding="utf-8").splitlines()
    return [int(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]


def explain(seed: int, violation: Violation, machines: Machines = Machines()) -> str:
    """Describe a failure, for a person who looks for the bug."""
    plan = shrink(draw(seed), violation.invariant, machines)
    trace = Trace()
    shrunk = failure_of(plan, machines, trace)
    return "\n".join(
        [
            f"seed {seed} fails: {violation}",
            f"this shorter plan fails too: {shrunk}",
            *describe(plan),
            f"the end of the trace (ms, who, what), at most {TRACE_LINES} lines:",
            *trace.lines(TRACE_LINES),
            (
                "keep the seed in tests/simulation/seeds.txt; the whole trace: "
                f"python -m tests.simulation --seed {seed}"
            ),
        ]
    )


def describe(plan: Plan) -> list[str]:
    """The lines that describe a plan: its settings, its first plays, its faults."""
    settings = [
        f"{name}={getattr(plan, name)}" for name in plan.__struct_fields__ if name not in ("plays", "faults")
    ]
    plays = [
        f"{one.at_ms}:{'ab'[one.queue]}{'bad' if one.video == BAD else one.video}"
        + (f"(-{one.age_ms})" if one.age_ms else "")
        for one in plan.plays[:30]
    ]
    more = [f"and {len(plan.plays) - 30} more"] if len(plan.plays) > 30 else []
    faults = [f"  {fault}" for fault in plan.faults] or ["  none"]
    return [f"  {' '.join(settings)}", "  plays (ms:queue video (age)) " + " ".join(plays + more), *faults]
