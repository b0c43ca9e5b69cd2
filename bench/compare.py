"""Whether our own changes made the service slower: compares an old commit and the working tree.

    PATH="$(make -s nsqd):$PATH" python -m bench.compare REF [--pairs 9] [--plays 200000]

In each pair a service of the commit REF and a service of the working tree run at the same time. Each has its
own folder and its own state. Both use one real nsqd, or each uses its embedded queue. Only the harness of the
working tree measures. It measures two figures of each service: the CPU time per play of all its processes
(user and system) while it drains a backlog of plays of 100 videos; and the median wait of lone plays of quiet
videos, from their arrival on the queue to their receipt by the client. The ratios new/old are judged, not the
figures: the result is "slower" only if the lower quartile of a figure's ratios is above 1.03.

Exit codes: 0 not slower, 1 slower, 2 not compared (with the reason).
"""

import argparse
import contextlib
import signal
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.support.queues import nsqd_path, open_queue

from .checkouts import CannotCompare, Checkout, commit, working_tree
from .command import add_json, folder, parser, show, write_json
from .judgement import SIDES, judge
from .pair import ROUNDS, Bench, BySide

NOT_SLOWER, SLOWER, NOT_COMPARED = 0, 1, 2
FIGURES = {"cpu_us_a_play": "CPU a play, µs", "wait_ms": "median wait, ms"}

Pair = dict[str, BySide]


def main(words: list[str] | None = None) -> int:
    """Measure and print. Returns the exit code."""
    options = _parser().parse_args(words)
    try:
        with folder() as path:
            return _compare(options, path)
    except (CannotCompare, OSError) as reason:
        print(f"not compared: {reason}", file=sys.stderr)
    except KeyboardInterrupt:
        print("not compared: stopped by a signal", file=sys.stderr)
    return NOT_COMPARED


def _parser() -> argparse.ArgumentParser:
    arguments = parser(__doc__)
    add = arguments.add_argument
    add("ref", metavar="REF", help="the old commit")
    add("--pairs", type=_at_least(1), default=9, metavar="N", help="(default: 9)")
    add("--plays", type=_at_least(ROUNDS), default=200_000, metavar="N", help="to drain (default: 200000)")
    add("--lone-plays", type=_at_least(1), default=600, metavar="N", help="to publish (default: 600)")
    add("--embedded", action="store_true", help="use the embedded queue, even if there is an nsqd")
    add_json(arguments)
    return arguments


def _at_least(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}, expected {least} or more")
        return int(text)

    return whole_number


def _compare(options: argparse.Namespace, path: Path) -> int:
    checkouts = {"old": commit(options.ref, path / "old"), "new": working_tree(path / "new")}
    for one in checkouts.values():
        one.check()
    embedded = options.embedded or nsqd_path() is None
    queue = "the embedded one of each, its CPU time included" if embedded else f"{nsqd_path()}"
    for name, what in [*((name, one.label) for name, one in checkouts.items()), ("queue", queue)]:
        print(f"{name + ':':7}{what}")
    print(f"pairs: {options.pairs}, of {options.plays:,} plays drained and {options.lone_plays:,} lone ones")
    sys.stdout.flush()
    pairs = []
    with contextlib.ExitStack() as stack:
        nsqd = None
        if not embedded:
            memory = f"--mem-queue-size={2 * options.plays}"
            process = stack.enter_context(open_queue("nsqd", path, memory))
            nsqd = process.tcp_address, process.http_address
        bench = Bench(checkouts, nsqd, path)
        for number in range(options.pairs):
            figures = bench.measure(number, options.plays, options.lone_plays)
            pair = dict(zip(FIGURES, figures, strict=True))
            print(f"pair {number + 1}: {_described(pair)}", file=sys.stderr)
            pairs.append(pair)
    return _conclude(options, checkouts, queue, pairs)


def _conclude(
    options: argparse.Namespace, checkouts: dict[str, Checkout], queue: str, pairs: list[Pair]
) -> int:
    """Judge the pairs and print the result. Returns the exit code."""
    judged = {figure: judge([_ratio(pair[figure]) for pair in pairs]) for figure in FIGURES}
    rows = []
    for figure, one in judged.items():
        old, new = (statistics.median(pair[figure][name] for pair in pairs) for name in SIDES)
        quartiles = f"{one.lower:.3f} to {one.upper:.3f}"
        rows.append(
            (FIGURES[figure], f"{old:.2f}", f"{new:.2f}", f"{one.median:.3f}", quartiles, one.verdict)
        )
    show(("", "old", "new", "new/old", "quartiles", "so the new one is"), rows)
    slower = any(one.slower for one in judged.values())
    print("slower" if slower else "not slower")
    found = {
        **{name: one.label for name, one in checkouts.items()},
        "queue": queue,
        "pairs": pairs,
        "ratios": {figure: {**asdict(one), "slower": one.slower} for figure, one in judged.items()},
        "slower": slower,
    }
    write_json(options.json, found)
    return SLOWER if slower else NOT_SLOWER


def _described(pair: Pair) -> str:
    return "; ".join(
        f"{name} {pair[figure]['old']:.2f} and {pair[figure]['new']:.2f}, {_ratio(pair[figure]):.3f}"
        for figure, name in FIGURES.items()
    )


def _ratio(figure: BySide) -> float:
    return figure["new"] / figure["old"]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the contexts stop the services
    sys.exit(main())
