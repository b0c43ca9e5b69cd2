"""Small mistakes made in `core/`, `store/` and `sinks/`, one at a time: do the tests notice each of them?

python -m tests.mutants [--sample N | --all | --only TEXT] [--jobs J] [--list] [--verbose]

The code that is mutated draws the sample from the fixed population: other code, another sample. A new test or
a new line of survivors.md leaves the sample as it is, so a second run shows that a survivor is mended. The
exit code is 1 if a mutation survives that survivors.md does not list, or if it lists one that is killed.
"""

import argparse
import math
import signal
import sys
import time
from pathlib import Path

import msgspec

from . import report
from .jobs import Job
from .population import Mutation, digest, population, sample
from .run import Fate, Reached, jobs, measure, try_all

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """The command line."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to delete the copies of the checkout
    options = _options(arguments)
    everything = population(ROOT)
    known = report.listed()
    chosen = everything
    if options.only:
        chosen = [one for one in everything if any(text in one.id for text in options.only)]
    elif not options.all:
        chosen = sample(everything, options.sample, digest(ROOT))
    if options.list:
        for one in chosen:
            print(f"{one.id}\t{one.file}:{one.line}: {one.before}  ->  {one.after}")
        return 0
    fates = _run(chosen, options, known)
    found = report.problems(fates, known, {one.id for one in everything}, options.all)
    print("\n".join([*found, report.summary(fates, known)]))
    return 1 if found else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n")[0])
    parser.add_argument("--sample", type=int, default=60, metavar="N", help="how many to draw (60)")
    parser.add_argument("--all", action="store_true", help="try the whole population")
    parser.add_argument("--only", action="append", metavar="TEXT", help="those with this text in their id")
    parser.add_argument("--jobs", type=int, default=2, metavar="J", help="the number of parallel runs (2)")
    parser.add_argument(
        "--measured", type=Path, metavar="FILE", help="reads or writes which tests reach what"
    )
    parser.add_argument("--quick", type=float, default=math.inf, metavar="S", help="only tests of less CPU")
    parser.add_argument("--list", action="store_true", help="print the mutations, and try none")
    parser.add_argument("--verbose", action="store_true", help="say of each mutation what kills it")
    options = parser.parse_args(arguments)
    if options.sample < 1 or options.jobs < 1:
        parser.error("--sample and --jobs are 1 or more")
    return options


def _reached(all_jobs: list[Job], chosen: list[Mutation], options: argparse.Namespace) -> Reached:
    """Measure, or read what an earlier run has measured of the same code."""
    if options.measured is not None and options.measured.exists():
        return msgspec.json.decode(options.measured.read_bytes(), type=Reached)
    reached = measure(all_jobs, chosen)
    if options.measured is not None:
        options.measured.write_bytes(msgspec.json.encode(reached))
    return reached


def _run(chosen: list[Mutation], options: argparse.Namespace, known: set[str]) -> list[Fate]:
    fates: list[Fate] = []
    started_s = time.monotonic()

    def done(fate: Fate) -> None:
        fates.append(fate)
        if not fate.by:
            print(report.line_of(fate, fate.mutation.id in known), flush=True)
        elif options.verbose:
            print(f"killed: {fate.mutation.id} by {fate.by}, test {fate.tests}", flush=True)

    with jobs(ROOT, options.jobs, chosen) as all_jobs:
        reached = _reached(all_jobs, chosen, options)
        for one in reached.left_out:
            print(f"left out, as it does not pass without a mutation: {one}", file=sys.stderr)
        print(f"measured in {time.monotonic() - started_s:.0f} s", file=sys.stderr, flush=True)
        try_all(all_jobs, chosen, reached, done, options.quick)
    print(f"{len(fates)} mutations in {time.monotonic() - started_s:.0f} s", file=sys.stderr)
    return fates


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
