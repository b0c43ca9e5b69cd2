"""Where the schedule makes more than the bound: is the bound low, or does the future matter?

    python -m bench.exact            cut-down traces, for which the exact minimum can be found (needs scipy)
    python -m bench.exact --rates    "all hot" at several rates: the rule against the bound

exact: the fewest publishes, by an integer programme that knows all plays beforehand. Where bound and exact
agree, what the rule makes more is the price of not knowing the future.
"""

import argparse
from collections import Counter
from random import Random

from rich.table import Table

from actors.core.bound import Mode, Play, demands, publishes_min
from actors.screen import Page
from tests.unit.test_bound import all_hot, exact_minimum

from .publishes import BATCH_SIZE_MAX, DEADLINE_MS, rule_publishes
from .traces import BURST_MS, MS, make_trace

SEEDS = 8
SECONDS = (600, 1200, 1800, 3600, 7200, 21_600)


def burst(videos: int, seed: int) -> list[Play]:
    """A burst of the trace "bursts": five plays a video within 50 ms."""
    random, counted, plays = Random(seed), Counter(), []
    for at_ms in sorted(int(random.random() * BURST_MS) for _ in range(5 * videos)):
        video = int(random.random() * videos)
        counted[video] += 1
        plays.append(Play(video, at_ms * MS, at_ms * MS, counted[video]))
    return plays


def main() -> None:
    """Measure and print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rates", action="store_true", help="how all hot depends on the rate of plays")
    options = parser.parse_args()
    table = Table(box=None, pad_edge=False, header_style="dim")
    columns = (
        ("all hot", "rule", "bound", "ratio")
        if options.rates
        else ("cut down", "of so many", "linger", "rule", "exact", "bound")
    )
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in _rates() if options.rates else _cut_down():
        table.add_row(*row)
    Page().print(table)


def _rates() -> list[tuple[str, ...]]:
    hour, mode, rows = make_trace("all hot"), Mode(deadline=DEADLINE_MS * MS), []
    begin = hour[0].arrived
    for seconds in SECONDS:
        trace = []
        for play in hour:
            at = (begin + (play.arrived - begin) * seconds // 3600) // MS * MS
            trace.append(play._replace(arrived=at, received=at))
        rule, bound = rule_publishes(trace, mode), publishes_min(demands(trace, mode), BATCH_SIZE_MAX)
        rows.append((f"{seconds // 60} min", f"{rule:,}", f"{bound:,}", f"{rule / bound:.4f}"))
    return rows


def _cut_down() -> list[tuple[str, ...]]:
    rows = []
    for videos, size, linger_ms in ((10, 2, 0), (10, 2, 10), (20, 4, 10)):
        mode = Mode(deadline=DEADLINE_MS * MS, realtime_linger=linger_ms * MS, batch_size_max=size)
        bursts = [burst(videos, seed) for seed in range(SEEDS)]
        rows.append((f"burst of {videos} videos", f"{size}", f"{linger_ms} ms", *_found(bursts, mode)))
    mode = Mode(deadline=DEADLINE_MS * MS, batch_size_max=2)
    hot = [all_hot(videos=10, seconds=200, seed=seed) for seed in (1, 2)]
    return [*rows, ("10 hot videos", "2", "0 ms", *_found(hot, mode))]


def _found(traces: list[list[Play]], mode: Mode) -> tuple[str, str, str]:
    rule = exact = bound = 0
    for plays in traces:
        wanted = demands(plays, mode)
        rule += rule_publishes(plays, mode)
        exact += exact_minimum(wanted, mode.batch_size_max)
        bound += publishes_min(wanted, mode.batch_size_max)
    return f"{rule:,}", f"{exact:,}", f"{bound:,}"


if __name__ == "__main__":
    main()
