"""Many simulated runs, or one with its trace.

python -m tests.simulation --seeds 10000 [--from M] [--jobs J]     exits with 1 if a run failed
python -m tests.simulation --seed S                                one run, with its whole trace
"""

import argparse
import sys

from .runs import run_many, run_one


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=2000, metavar="N", help="the number of seeds (2000)")
    parser.add_argument("--from", type=int, default=0, metavar="M", dest="first", help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="the number of parallel runs (1)")
    parser.add_argument("--seed", type=int, metavar="S", help="run only this seed, with its trace")
    options = parser.parse_args(arguments)
    if options.seeds < 1 or options.jobs < 1:
        parser.error("--seeds and --jobs are 1 or more")
    if options.seed is not None:
        return run_one(options.seed)
    return run_many(options.first, options.seeds, options.jobs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
