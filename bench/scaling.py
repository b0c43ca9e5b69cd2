"""How many publishes a load makes, and what is full first: by plays a day and videos, from measured costs.

    python -m bench.scaling [--set NAME=VALUE …]     prints the tables of docs/scaling.md

Pure arithmetic; the costs are measured by the commands that it names. It supposes that plays come at a steady
rate, and that all videos are played equally often, which is the worst case: any other mix has fewer videos
pending. A video lives for `life_days`. Its first 99 plays are realtime, the others wait for their deadline.

Publishes: one leaves at once for a realtime play. What comes while it is on its way goes together in the next
one, twenty videos at most; with a linger, what comes meanwhile too. Videos with a deadline fill empty places,
so they make more publishes only where there are not enough places for all.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil, exp
from typing import Any

from msgspec import Struct, structs

PLAYS_A_DAY = tuple(10**power for power in range(5, 12))
VIDEOS = tuple(10**power for power in range(3, 9))
DAY_S = 86_400
REALTIME_PLAYS = 99


class Costs(Struct, frozen=True):
    """What is measured, and what is supposed."""

    consumer_us: float = 0.6
    counters_us: float = 2.3
    dispatcher_us: float = 0.25
    nsqd_us: float = 1.8
    publish_ms: float = 1.4
    apart_ms: float = 2.0
    publish_counters_ms: float = 0.9
    own_ms: float = 2.5
    video_bytes: float = 188.0
    seen_bytes: float = 11.0
    written_bytes: float = 46.0
    client_ms: float = 20.0
    cores: float = 8.0
    memory_gb: float = 16.0
    disk_mb_s: float = 200.0
    life_days: float = 30.0


WHERE = {
    "consumer_us": ("consumer, µs of CPU a play", "python -m bench.growth"),
    "counters_us": ("counters together, µs of CPU a play", "python -m bench.growth"),
    "dispatcher_us": ("dispatcher, µs of CPU a play", "python -m bench.growth"),
    "nsqd_us": ("nsqd, µs of CPU a play", "python -m bench.drain"),
    "publish_ms": ("dispatcher, ms of CPU a publish of 20 videos", "python -m bench.publishing"),
    "apart_ms": ("from one publish to the next at the fastest, ms", "python -m bench.publishing"),
    "publish_counters_ms": ("counters together, ms of CPU a publish", "python -m bench.publishing"),
    "own_ms": ("our own time a publish, ms", "python -m bench.publishing"),
    "video_bytes": ("memory a video, bytes", "python -m bench.growth"),
    "seen_bytes": ("memory a play in `counters.dedupe_window_s`, bytes", "python -m bench.seen"),
    "written_bytes": (
        "written to disk a play, bytes: 38 of accounts, 8 of seen ids",
        "python -m bench.growth",
    ),
    "client_ms": ("the client answers in, ms", "supposed"),
    "cores": ("cores", "supposed"),
    "memory_gb": ("memory, GB", "supposed"),
    "disk_mb_s": ("disk, MB/s", "supposed"),
    "life_days": ("a video is played for, days", "supposed"),
}


class Settings(Struct, frozen=True):
    """The settings that matter here, as in config.toml."""

    realtime_linger_ms: float = 0.0
    in_flight_max: int = 8
    deadline_s: float = 60.0
    dedupe_window_s: float = 3600.0
    shards: int = 2
    batch_size_max: int = 20


class Load(Struct, frozen=True):
    """What a load makes: publishes a second, and how full each resource is (1: full)."""

    publishes_per_s: float
    full: dict[str, float]

    @property
    def first(self) -> tuple[str, float]:
        """The fullest resource, and how full it is."""
        return max(self.full.items(), key=lambda one: one[1])


# From the one that costs most to the one that costs least: what is not needed is left out in this order.
REMEDIES: dict[str, dict[str, Any]] = {
    "deadline 10 min": {"deadline_s": 600.0},
    "dedupe 5 min": {"dedupe_window_s": 300.0},
    "8 shards": {"shards": 8},
    "in flight 64": {"in_flight_max": 64},
}
LINGER_MS = 1000.0


def load_of(plays_a_day: float, videos: float, costs: Costs, settings: Settings = Settings()) -> Load:
    """The load of so many plays a day of so many videos."""
    plays_per_s = plays_a_day / DAY_S
    publishes_per_s = _publishes_per_s(plays_a_day, videos, costs, settings)
    dispatcher_s = plays_per_s * costs.dispatcher_us / 1e6 + publishes_per_s * costs.publish_ms / 1e3
    consumer_s = plays_per_s * costs.consumer_us / 1e6
    counters_s = plays_per_s * costs.counters_us / 1e6 + publishes_per_s * costs.publish_counters_ms / 1e3
    nsqd_s = plays_per_s * costs.nsqd_us / 1e6
    memory = videos * costs.video_bytes + plays_per_s * settings.dedupe_window_s * costs.seen_bytes
    return Load(
        publishes_per_s,
        {
            "client": publishes_per_s * (costs.client_ms + costs.own_ms) / 1e3 / settings.in_flight_max,
            "dispatcher": plays_per_s * costs.dispatcher_us / 1e6 + publishes_per_s * costs.apart_ms / 1e3,
            "consumer": consumer_s,
            "counters": counters_s / settings.shards,
            "cores": (dispatcher_s + consumer_s + counters_s + nsqd_s) / costs.cores,
            "memory": memory / (costs.memory_gb * 1e9),
            "disk": plays_per_s * costs.written_bytes / (costs.disk_mb_s * 1e6),
        },
    )


def _publishes_per_s(plays_a_day: float, videos: float, costs: Costs, settings: Settings) -> float:
    plays_per_s = plays_a_day / DAY_S
    plays_a_life = plays_a_day / videos * costs.life_days
    realtime_per_s = plays_per_s * min(1.0, REALTIME_PLAYS / plays_a_life)
    hot_per_s = plays_per_s - realtime_per_s
    # After a publish a video waits for its next play, and then for its deadline.
    hot_videos_per_s = hot_per_s and videos / (settings.deadline_s + videos / hot_per_s)
    publish_s, linger_s = (costs.client_ms + costs.own_ms) / 1e3, settings.realtime_linger_ms / 1e3
    # After a realtime publish left, the next play may come while it is on its way, or later.
    later_s = exp(-realtime_per_s * max(0.0, publish_s - linger_s)) / realtime_per_s
    alone_per_s = 1 / (max(publish_s, linger_s) + later_s)
    places_per_s = (realtime_per_s + hot_videos_per_s) / settings.batch_size_max
    return max(alone_per_s, places_per_s)


def remedy(plays_a_day: float, videos: float, costs: Costs) -> str:
    """What keeps everything below full: the first settings that do, or how many machines are needed."""
    chosen = dict(REMEDIES)

    def machines(names: Iterable[str]) -> int:
        changes = {key: value for name in names for key, value in REMEDIES[name].items()}
        return ceil(load_of(plays_a_day, videos, costs, structs.replace(Settings(), **changes)).first[1])

    least = machines(chosen)
    for name in REMEDIES:
        if machines(one for one in chosen if one != name) <= least:
            del chosen[name]
    return ", ".join([*chosen, *([f"{least} machines"] if least > 1 else [])]) or "nothing"


def tables(costs: Costs) -> Iterator[str]:
    """The tables in Markdown, line by line."""
    yield "| cost | value | measured by |"
    yield "|---|---|---|"
    for name, (what, command) in WHERE.items():
        yield f"| {what} (`{name}`) | {getattr(costs, name):g} | {_code(command)} |"
    columns = " | ".join(_power(videos) for videos in VIDEOS)
    linger = Settings(realtime_linger_ms=LINGER_MS)
    heads: dict[str, Callable[[int, int], str]] = {
        "Publishes a minute": lambda plays, videos: _a_minute(load_of(plays, videos, costs)),
        "The same with `realtime_linger_ms = 1000`": lambda plays, videos: _a_minute(
            load_of(plays, videos, costs, linger)
        ),
        "What is fullest, and how full": lambda plays, videos: _first(load_of(plays, videos, costs)),
        "What to do": lambda plays, videos: remedy(plays, videos, costs),
    }
    for head, cell in heads.items():
        yield ""
        yield f"**{head}**, by plays a day and videos:"
        yield ""
        yield f"| plays a day | {columns} |"
        yield "|---" * (1 + len(VIDEOS)) + "|"
        for plays in PLAYS_A_DAY:
            yield f"| {_power(plays)} | " + " | ".join(cell(plays, videos) for videos in VIDEOS) + " |"


def _a_minute(load: Load) -> str:
    return _number(60 * load.publishes_per_s)


def _first(load: Load) -> str:
    name, full = load.first
    return f"{name} {_number(100 * full)} %"


def _number(value: float) -> str:
    """Two digits that count."""
    if value >= 100:
        digits = len(f"{value:.0f}") - 2
        return f"{round(value, -digits):,.0f}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _power(value: int) -> str:
    superscripts = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    return "10" + str(len(str(value)) - 1).translate(superscripts)


def _code(command: str) -> str:
    return command if command == "supposed" else f"`{command}`"


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help=", ".join(WHERE))
    costs = Costs()
    for word in arguments.parse_args(words).set:
        name, found, value = word.partition("=")
        if name not in WHERE or not found:
            sys.exit(f"{word}: expected NAME=VALUE, with one of {', '.join(WHERE)}")
        costs = structs.replace(costs, **{name: float(value)})
    print("\n".join(tables(costs)))


if __name__ == "__main__":
    main()
