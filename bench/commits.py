"""The least that counters use for a play of a backlog, by the number of shards.

    PATH="$(make -s nsqd):$PATH" python -m bench.commits [--units 400]

A unit is what a consumer passes on at once: 70 % of the 2,500 messages that nsqd lets a connection have in
flight (`core/consumer/held.py`). Each shard gets its part of it, and commits that. Here one process does so
for a single shard, again and again: its rules and its commit, without messages, without other processes, and
with everything in the processor's caches. "all shards": the CPU per play if each shard takes as much.
"""

import time

from .command import folder, need_nsqd, parser, show
from .store import NOW_MS, Shard
from .unit import nsqd_us_a_play

SHARDS = (1, 2, 4, 8)
VIDEOS = 100
UNIT_PLAYS = 1750
COLUMNS = ("shards", "plays a commit", "rules and commit, µs", "all shards, µs a play", "x nsqd")


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--units", type=int, default=400)
    options = arguments.parse_args()
    need_nsqd()
    with folder() as path:
        nsqd_us = nsqd_us_a_play(path / "nsqd")
        rows = [_row(str(path / str(shards)), shards, options.units, nsqd_us) for shards in SHARDS]
    show(COLUMNS, rows, texts=0)


def _row(state_dir: str, shards: int, units: int, nsqd_us: float) -> list[str]:
    shard, plays = Shard(state_dir, shards, VIDEOS, 0), UNIT_PLAYS // shards
    turns = plays // len(shard.videos) + 1
    videos = (shard.videos * turns)[:plays]
    began_s = 0.0
    for unit in range(units + units // 10):
        if unit == units // 10:  # before, caches and tables fill
            began_s = time.thread_time()
        shard.count(videos, NOW_MS + 10 * unit)
    a_commit_us = (time.thread_time() - began_s) / units * 1e6
    a_play_us = a_commit_us * shards / UNIT_PLAYS
    return [str(shards), str(plays), f"{a_commit_us:.0f}", f"{a_play_us:.2f}", f"{a_play_us / nsqd_us:.2f}"]


if __name__ == "__main__":
    main()
