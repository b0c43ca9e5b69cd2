"""The command totals: the plays counted, from the ledgers, whether or not the service runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..config import Settings
from ..core import guids
from ..system.exits import EXIT_DONE, EXIT_FAILED, Failure

if TYPE_CHECKING:
    from ..store.totals import TotalColumns

FIRST_VIDEOS = 1000  # that are printed before all are sorted
PART_VIDEOS = 4096


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print the totals that are asked for, or with --verify check every ledger. Raises `Failure`."""
    _check(options)
    if options.verify:
        return _verify(settings)
    unknown: list[bytes] = []
    if options.videos:
        wanted = list(dict.fromkeys(options.videos))
        found, unknown = _only(_read(settings, wanted), wanted)
        parts = iter([found])
    else:
        found = _read(settings)
        if options.below is not None:
            found = found.at(found.totals < options.below)
        parts = _greatest_first(found, len(found) if options.top is None else options.top)
    _print(parts, int(found.totals.max(initial=0)), options)
    for video in unknown:
        print(f"no play of {guids.text(video)} was counted", file=sys.stderr)
    return EXIT_FAILED if unknown else EXIT_DONE


def _check(options: argparse.Namespace) -> None:
    """Refuse options that contradict each other."""
    given = {
        "GUIDs": bool(options.videos),
        "--json": options.json,
        "--csv": options.csv,
        "--top": options.top is not None,
        "--below": options.below is not None,
    }
    names = [name for name, is_given in given.items() if is_given]
    if options.verify and names:
        options.usage_error(
            f"--verify checks the ledgers and prints no total, expected no {names[0]} with it"
        )
    if options.json and options.csv:
        options.usage_error("expected --json or --csv, not both")
    bounds = [name for name in ("--top", "--below") if given[name]]
    if options.videos and bounds:
        options.usage_error(f"expected GUIDs or {bounds[0]}, not both")


def _read(settings: Settings, of: list[bytes] | None = None) -> TotalColumns:
    from ..store import TotalsReader

    reader = TotalsReader(settings.supervisor.state_dir)
    if not reader.found:
        raise Failure(
            f"no ledgers in {settings.supervisor.state_dir}, expected those of a service that has run: "
            "see supervisor.state_dir"
        )
    return reader.columns(of)


def _only(found: TotalColumns, wanted: list[bytes]) -> tuple[TotalColumns, list[bytes]]:
    """The totals of these videos, in their order, and those that have none."""
    import numpy as np

    from ..core.columns import video_words

    alike = [np.isin(found.videos[:, half], video_words(b"".join(wanted))[:, half]) for half in (0, 1)]
    candidates = np.flatnonzero(alike[0] & alike[1])
    places = {found.videos[place].tobytes(): place for place in candidates.tolist()}
    known = np.array([places[video] for video in wanted if video in places], np.int64)
    return found.at(known), [video for video in wanted if video not in places]


def _greatest_first(found: TotalColumns, count: int) -> Iterator[TotalColumns]:
    """The `count` greatest totals in parts, the greatest first; the first part before all are sorted."""
    from ..core.greatest import greatest, greatest_first

    first = found.at(greatest(found.videos, found.totals, min(FIRST_VIDEOS, count)))
    yield first.at(greatest_first(first.videos, first.totals))
    if count > FIRST_VIDEOS:
        order = greatest_first(found.videos, found.totals)[:count]
        for start in range(FIRST_VIDEOS, len(order), PART_VIDEOS):
            yield found.at(order[start : start + PART_VIDEOS])


def _print(parts: Iterator[TotalColumns], greatest: int, options: argparse.Namespace) -> None:
    from . import totals_output

    if options.json:
        totals_output.print_json(parts)
    elif options.csv:
        totals_output.print_csv(parts)
    else:
        totals_output.show(parts, greatest)


def _verify(settings: Settings) -> int:
    from ..store.verify import verify

    findings = verify(settings.supervisor.state_dir)
    if not findings:
        raise Failure(f"no ledgers in {settings.supervisor.state_dir}: see supervisor.state_dir")
    for finding in findings:
        print(finding)
    return EXIT_FAILED if any(finding.wrong for finding in findings) else EXIT_DONE
