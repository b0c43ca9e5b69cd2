"""The command republish: has the running service tell the client totals again."""

import argparse
import sys

from ..config import Settings
from ..core import guids
from ..core.calls import REPUBLISH_VIDEOS_MAX
from ..system.exits import EXIT_DONE, Failure
from . import admin_client


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Ask the service for it. The service goes on with it by itself. Raises `Failure`."""
    videos: list[bytes] = list(dict.fromkeys(options.videos))
    if options.all is bool(videos):
        options.usage_error("expected either --all or some VIDEOs")
    if len(videos) > REPUBLISH_VIDEOS_MAX:
        found = f"{len(videos)} videos, expected at most {REPUBLISH_VIDEOS_MAX} at a time"
        options.usage_error(f"{found}; run it again for the others, or take --all")
    admin_client.facts_of_service(settings)
    _check_counted(settings, videos)
    print(f"{admin_client.republish(settings, videos)} begins", file=sys.stderr)
    return EXIT_DONE


def _check_counted(settings: Settings, videos: list[bytes]) -> None:
    from ..store import TotalsReader

    if not videos:
        return
    wanted = set(videos)
    wanted -= {video for video, _, _ in TotalsReader(settings.supervisor.state_dir).read()}
    if wanted:
        unknown = ", ".join(guids.text(video) for video in videos if video in wanted)
        raise Failure(f"no play was ever counted of {unknown}; nothing is published again")
