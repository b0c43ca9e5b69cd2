"""Commands that try the service or judge a run: check, audit, drill, demo."""

import argparse

from ..config import Settings


def run_check(settings: Settings, options: argparse.Namespace) -> int:
    """Try the queue, the client and the state folder."""
    from . import check

    return check.run(settings)


def run_audit(settings: Settings, options: argparse.Namespace) -> int:
    """Judge recorded publishes."""
    from . import audit_run

    return audit_run.run(settings, options)


def run_drill(settings: Settings, options: argparse.Namespace) -> int:
    """Kill children at random under load."""
    from . import drill

    return drill.run(settings, options)


def run_demo(settings: Settings, options: argparse.Namespace) -> int:
    """Do the whole job once, with a report."""
    from . import demo

    words = ["--plays", options.plays, "--videos", options.videos, "--seconds", options.seconds]
    if options.quiet_videos is not None:
        words += ["--quiet-videos", options.quiet_videos]
    return demo.run(settings, options.config, options.set, [*words, "--seed", options.seed])
