"""The command totals: the plays counted, from the ledgers, whether or not the service runs."""

import argparse
import sys
from typing import TypeAlias

from ..config import Settings
from ..core import guids
from ..supervision.standard_streams import print_json
from ..system.exits import EXIT_DONE, EXIT_FAILED, Failure
from . import screen

Row: TypeAlias = tuple[
    bytes, int, int
]  # a video (16 bytes), its total, the last one that the client confirmed


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print the totals that are asked for, or with --verify check every ledger. Raises `Failure`."""
    _check(options)
    if options.verify:
        return _verify(settings)
    rows = _read(settings)
    unknown: list[bytes] = []
    if options.videos:
        wanted = dict.fromkeys(options.videos)
        found = {row[0]: row for row in rows if row[0] in wanted}
        unknown = [video for video in wanted if video not in found]
        rows = [found[video] for video in wanted if video in found]
    else:
        if options.below is not None:
            rows = [row for row in rows if row[1] < options.below]
        rows.sort(key=lambda row: (-row[1], row[0]))
        rows = rows[: options.top]
    _print(rows, options)
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


def _read(settings: Settings) -> list[Row]:
    from ..store import TotalsReader

    reader = TotalsReader(settings.supervisor.state_dir)
    if not reader.found:
        raise Failure(
            f"no ledgers in {settings.supervisor.state_dir}, expected those of a service that has run: "
            "see supervisor.state_dir"
        )
    return reader.read()


def _print(rows: list[Row], options: argparse.Namespace) -> None:
    if options.json:
        print_json({guids.text(video): total for video, total, _ in rows})
    elif options.csv:
        print("video_id,plays")
        for video, total, _ in rows:
            print(f"{guids.text(video)},{total}")
    else:
        screen.show_totals(rows)


def _verify(settings: Settings) -> int:
    from ..store.verify import verify

    findings = verify(settings.supervisor.state_dir)
    if not findings:
        raise Failure(f"no ledgers in {settings.supervisor.state_dir}: see supervisor.state_dir")
    for finding in findings:
        print(finding)
    return EXIT_FAILED if any(finding.wrong for finding in findings) else EXIT_DONE
