"""Runs one seed with its trace, or many seeds in parallel. A failure is printed with its seed, shortened."""

import concurrent.futures
import multiprocessing
import time
from collections.abc import Iterable

from .plan import draw
from .report import describe, explain
from .simulate import failure_of
from .trace import Trace

FAILURES_EXPLAINED_MAX = 3
CHUNK = 25


def failing(seeds: Iterable[int]) -> list[int]:
    """The seeds that fail."""
    return [seed for seed in seeds if failure_of(draw(seed)) is not None]


def run_one(seed: int) -> int:
    """Run one seed and print its whole trace."""
    plan, trace = draw(seed), Trace()
    violation = failure_of(plan, trace=trace)
    print("\n".join([f"seed {seed}", *describe(plan), *trace.lines(1_000_000)]))
    print(explain(seed, violation) if violation else f"seed {seed} holds")
    return 1 if violation else 0


def run_many(first: int, number: int, jobs: int) -> int:
    """Run this many seeds, and explain each failure."""
    started_s = time.monotonic()
    chunks = [range(at, min(at + CHUNK, first + number)) for at in range(first, first + number, CHUNK)]
    failed: list[int] = []
    if jobs > 1:
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(jobs, context) as pool:
            for found in pool.map(failing, chunks):
                failed += found
    else:
        for chunk in chunks:
            failed += failing(chunk)
    minutes = (time.monotonic() - started_s) / 60
    for seed in failed[:FAILURES_EXPLAINED_MAX]:
        violation = failure_of(draw(seed))
        assert violation is not None, f"seed {seed} failed only once: a run depends on more than its seed"
        print(explain(seed, violation), end="\n\n")
    print(f"{number} seeds from {first}, {jobs} at a time: {number / minutes:.0f} seeds a minute")
    print(f"failed: {' '.join(map(str, failed)) or 'none'}")
    return 1 if failed else 0
