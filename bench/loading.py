"""What it costs to load a ledger: µs of CPU per video, beside a floor.

    python -m bench.loading [--videos 1000000] [--seen 1000000] [--group 1000] [--runs 5]

One ledger of `--videos` videos and `--seen` message ids is written as a counter writes it, in commits of
`--group` plays. Then it is loaded as a counter does until it is ready, `--runs` times; the least CPU
counts. The floor is the CPU to read the same files with numpy and to add up their bytes. So the ratio can be
compared between machines; a time alone can't. docs/guarantees.md promises at most 1 µs per video and 50 ms.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from .command import folder, parser, show
from .store import NOW_MS, WINDOW_MS, Shard

COLUMNS = ("videos", "seen ids", "MB", "CPU a video, µs", "floor, µs", "x the floor")


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--videos", type=int, default=1_000_000)
    arguments.add_argument("--seen", type=int, default=1_000_000, help="plays, and so message ids")
    arguments.add_argument("--group", type=int, default=1000, help="plays in a commit")
    arguments.add_argument("--runs", type=int, default=5)
    options = arguments.parse_args()
    with folder() as path:
        show(COLUMNS, [measure(path, options)], "loading a ledger", texts=0)


def measure(path: Path, options: argparse.Namespace) -> list[str]:
    """One row of the table."""
    _fill(str(path), options)
    shard = Shard(str(path), 1, 0, 0)
    videos, seen = len(shard.ledger), len(shard.seen)
    shard.store.close()
    files = sorted(path.glob("counter-0.sqlite*"))
    cpu_s = min(_cpu_s(partial(_load, str(path))) for _ in range(options.runs))
    floor_s = min(_cpu_s(partial(_read, files)) for _ in range(options.runs))
    return [
        f"{videos:,}",
        f"{seen:,}",
        f"{sum(one.stat().st_size for one in files) / 1e6:.0f}",
        f"{cpu_s / videos * 1e6:.2f}",
        f"{floor_s / videos * 1e6:.3f}",
        f"{cpu_s / floor_s:.0f}",
    ]


def _fill(state_dir: str, options: argparse.Namespace) -> None:
    shard = Shard(state_dir, 1, options.videos, 0)
    for start in range(0, options.seen, options.group):
        places = range(start, min(start + options.group, options.seen))
        now_ms = NOW_MS - WINDOW_MS + start * WINDOW_MS // options.seen
        shard.count((shard.videos[place % len(shard.videos)] for place in places), now_ms)
    shard.store.close()


def _load(state_dir: str) -> None:
    Shard(state_dir, 1, 0, 0).store.close()


def _read(files: list[Path]) -> None:
    for file in files:
        np.fromfile(file, np.uint8).sum()


def _cpu_s(work: Callable[[], None]) -> float:
    started_s = time.process_time()
    work()
    return time.process_time() - started_s


if __name__ == "__main__":
    main()
