"""What the producer was asked to do: the command line and the settings, checked together.

It defines the options and their defaults, and reports all problems at once. It checks everything that
can be checked before the first play, so that a run does not fail late. It starts nothing.
"""

import argparse
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from actors import config
from actors.sources.security import security_problems
from actors.supervision.command_line import ArgumentParser
from actors.system.installation import producer_command
from actors.version import VERSION
from producer import manifest, workload

SEED_DRAWN_MAX = 2**32  # A random seed is short enough for a person to type again.
RATE_MAX = 10_000_000.0  # Plays a second. A run at a higher rate is not paced.


class ArgumentsError(ValueError):
    """All problems with the arguments and the settings, one line for each."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True)
class Arguments:
    """The checked arguments of a run. `plays_per_second`: None means as fast as possible."""

    settings: config.Settings
    plays: int
    videos: int
    quiet_videos: int
    distribution: str
    plays_per_second: float | None
    seed: int
    seed_was_drawn: bool
    manifest: str | None


class _Parser(ArgumentParser):
    """A parser that raises `ArgumentsError` where argparse would exit."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentsError([message])


def parse(argv: Sequence[str]) -> Arguments:
    """The run that `argv` asks for. Raises `ArgumentsError`; `--help` prints and exits with 0."""
    given, unknown = _parser().parse_known_args(argv)
    problems = [f"unknown argument {argument!r}, see --help" for argument in unknown]
    read = _Reader(problems)

    plays = read.whole("--plays", given.plays, 1, workload.PLAYS_MAX)
    videos = read.whole("--videos", given.videos, 1, workload.VIDEOS_MAX)
    seed_was_drawn = given.seed is None
    seed: int | None = secrets.randbelow(SEED_DRAWN_MAX)
    if not seed_was_drawn:
        seed = read.whole("--seed", given.seed, 0, workload.SEED_MAX)
    quiet_videos = None
    if given.quiet_videos is not None:
        quiet_videos = read.whole("--quiet-videos", given.quiet_videos, 0, workload.VIDEOS_MAX)
    elif plays is not None and videos is not None:
        quiet_videos = workload.quiet_videos_default(plays, videos)
    if given.distribution not in workload.DISTRIBUTIONS:
        known = ", ".join(workload.DISTRIBUTIONS)
        problems.append(f"--distribution {given.distribution!r}, expected one of {known}")
    elif plays is not None and videos is not None and quiet_videos is not None:
        try:
            workload.check(plays, videos, quiet_videos)
        except workload.ImpossibleWorkload as impossible:
            problems.append(str(impossible))

    plays_per_second = _plays_per_second(given, plays, read, problems)
    if given.manifest is not None and (unwritable := manifest.problem(given.manifest)):
        problems.append(unwritable)
    settings = None
    try:
        settings = config.load(given.config, given.set)
        problems.extend(security_problems(settings.nsq))
    except config.ConfigError as error:
        problems.extend(error.problems)
    # A value that could not be read is None, and its problem is in `problems`.
    if problems or plays is None or videos is None or quiet_videos is None or seed is None or not settings:
        raise ArgumentsError(problems)
    return Arguments(
        settings,
        plays,
        videos,
        quiet_videos,
        given.distribution,
        plays_per_second,
        seed,
        seed_was_drawn,
        given.manifest,
    )


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog=producer_command(),
        allow_abbrev=False,
        description="Put plays with known totals on the queue that the service reads. With nsq.play_id, each "
        "play has an id.",
        epilog="The producer waits until the queue can be reached. Exit code 0: the queue acknowledged "
        "every play. 1: it did not (stderr has the reason). 2: arguments or settings are wrong (stderr "
        "has all problems).",
    )
    # All values are read as text, because argparse's own checks stop at the first problem.
    add = parser.add_argument
    add("--version", action="version", version=f"playtally {VERSION}")
    add("--config", metavar="FILE", help=f"the settings (default: {config.LOOKED_FOR})")
    add(
        "--set",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        help="a setting to use instead of the file's; may be repeated",
    )
    add("--plays", metavar="N", default="100000", help="number of plays (default: 100000)")
    add("--videos", metavar="N", default="100", help="number of videos (default: 100)")
    add(
        "--quiet-videos",
        metavar="N",
        help="least number of videos with 1 to 99 plays (default: 15, or 15 %% of fewer than 100 videos)",
    )
    add(
        "--seconds",
        metavar="S",
        help="spread the plays evenly over S seconds; 0 for as fast as possible (default: 0)",
    )
    add("--rate", metavar="N", help="plays a second, instead of --seconds")
    add(
        "--distribution",
        metavar="NAME",
        default="zipf",
        help="how the videos that are not quiet share the plays: "
        f"{', '.join(workload.DISTRIBUTIONS)} (default: zipf)",
    )
    add("--seed", metavar="N", help="a seed always makes the same plays (default: random, shown on stderr)")
    add("--manifest", metavar="FILE", help="write what the queue acknowledged to FILE as JSON; - for stdout")
    return parser


def _plays_per_second(
    given: argparse.Namespace, plays: int | None, read: "_Reader", problems: list[str]
) -> float | None:
    if given.seconds is not None and given.rate is not None:
        problems.append(
            f"--seconds {given.seconds} and --rate {given.rate} exclude each other, expected one of them"
        )
    rate = read.number("--rate", given.rate, "more than 0", lambda value: value > 0)
    seconds = read.number("--seconds", given.seconds, "0 or more", lambda value: value >= 0)
    if seconds and plays:
        rate = plays / seconds
    # No queue takes plays at more than RATE_MAX, so such a run needs no pace.
    return rate if rate is not None and rate <= RATE_MAX else None


class _Reader:
    """Turns texts into numbers and adds what is wrong with them to `problems`."""

    def __init__(self, problems: list[str]):
        self._problems = problems

    def whole(self, option: str, text: str, low: int, high: int) -> int | None:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            self._problems.append(f"{option} {text!r}, expected a whole number, {low} to {high}")
            return None
        return value

    def number(
        self, option: str, text: str | None, expected: str, fits: Callable[[float], bool]
    ) -> float | None:
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and fits(value)):
            self._problems.append(f"{option} {text!r}, expected a number, {expected}")
            return None
        return value
