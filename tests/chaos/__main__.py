"""A service under fire: kills, halts, a bad client, full disks, torn files; and exact totals at the end.

    python -m tests.chaos --kills 500 [--seed S] [--queue embedded|nsqd] [--json FILE]

Without --queue, half of the kills run on the embedded queue, and half on a real nsqd if PATH has one. Exits
with 1 if a play was lost or counted twice, or if another promise was broken.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import msgspec

from actors.system.exits import EXIT_DONE, EXIT_FAILED, Failure
from tests.support.queues import QUEUES, nsqd_path

from .report import show
from .run import Outcome, run


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="processes to kill (100)")
    parser.add_argument("--seed", type=int, metavar="S", help="the seed of the faults and the plays (random)")
    parser.add_argument("--queue", choices=QUEUES, help="use only this queue (all that are available)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON too")
    options = parser.parse_args(arguments)
    if options.kills < 1:
        parser.error(f"--kills is {options.kills}, expected 1 or more")
    if options.queue == "nsqd" and nsqd_path() is None:
        parser.error("--queue nsqd: no nsqd on PATH; `make nsqd` builds one")
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    kinds = [options.queue] if options.queue else QUEUES if nsqd_path() else ["embedded"]
    outcomes = []
    for number, kind in enumerate(kinds):
        kills = options.kills // len(kinds) + (number < options.kills % len(kinds))
        try:
            outcomes.append(_run(kind, kills, seed))
        except Failure as failure:
            print(f"{kind}, seed {seed}: {failure}", file=sys.stderr)
            return EXIT_FAILED
    show(outcomes)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(outcomes)) + b"\n")
    return EXIT_DONE if all(outcome.exact for outcome in outcomes) else EXIT_FAILED


def _run(kind: str, kills: int, seed: int) -> Outcome:
    print(f"{kind}: {kills} kills, seed {seed}", file=sys.stderr)
    last = -1

    def say(line: str) -> None:
        nonlocal last
        tenth = int(line.split(maxsplit=1)[0]) * 10 // max(1, kills)
        if tenth != last:
            last = tenth
            print(f"  {line}", file=sys.stderr)

    with tempfile.TemporaryDirectory(prefix="playtally-chaos-") as folder:
        return run(kind, kills, seed, Path(folder), say)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
