"""`cluster`: NSQ's own programs on this machine, and commands to one of them from another terminal."""

import argparse
import sys
from pathlib import Path

from ..cluster import control, lifecycle
from ..cluster.flags import problems_of
from ..cluster.plan import Wanted
from ..config import Settings
from ..supervision.printable import Lines
from ..system.exits import EXIT_DONE, EXIT_USAGE


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run a cluster until Ctrl-C."""
    wanted = Wanted(
        nsqds=options.nsqd,
        nsqlookupds=options.nsqlookupd,
        nsqadmin=options.nsqadmin,
        port=options.port,
        tls=options.tls,
        flags=tuple(options.flag),
    )
    if not (wanted.nsqds or wanted.nsqlookupds):
        options.usage_error("--nsqd 0 and --nsqlookupd 0, expected one node at least")
    if problems := problems_of(wanted.flags):
        print(*problems, sep="\n", file=sys.stderr)
        return EXIT_USAGE
    return lifecycle.run(wanted, _folder(options), options.log_level, settings.log.format)


def act(_: Settings, options: argparse.Namespace) -> int:
    """Stop, start, pause or resume a node of the cluster that runs, or show all."""
    folder = (_folder(options) or lifecycle.default_folder()).absolute()
    print(Lines(control.ask(folder, options.action, getattr(options, "node", ""))))
    return EXIT_DONE


def _folder(options: argparse.Namespace) -> Path | None:
    return Path(options.data_dir) if options.data_dir else None
