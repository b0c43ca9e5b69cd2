"""Commands about copies of the state folder: backup, restore."""

import argparse
import sys
from pathlib import Path

from ..config import Settings
from ..system.exits import EXIT_DONE
from ..system.installation import service_command

QUEUE = "nsqd/journal.sqlite"
CLIENT = "client/client.sqlite"


def backup(settings: Settings, options: argparse.Namespace) -> int:
    """Copy the state to a folder, while a service runs or not."""
    from ..store.backup import backup

    others = [QUEUE] * settings.embedded + [CLIENT] * settings.client.enabled
    made = backup(settings.supervisor.state_dir, Path(options.folder), others)
    print(
        f"backed up {made.plays} plays to {options.folder}, as of {made.made_at}: {', '.join(made.files)}. "
        f"It was checked. `{service_command()} restore {options.folder}` puts it back",
        file=sys.stderr,
    )
    return EXIT_DONE


def restore(settings: Settings, options: argparse.Namespace) -> int:
    """Put a copy in the place of the state, while no service runs."""
    from ..store.restore import restore

    state_dir = settings.supervisor.state_dir
    done = restore(Path(options.folder), state_dir)
    made = done.manifest
    kept = f"; what was there before is in {done.replaced}" if done.replaced else ""
    print(
        f"restored {made.plays} plays to {state_dir}, as of {made.made_at}{kept}.",
        "Plays that were counted after that are not in it, so totals may be lower than those that the client "
        "has. The next start publishes every total again",
        sep="\n",
        file=sys.stderr,
    )
    if made.shards != settings.counters.shards:
        print(
            f"It has {made.shards} ledgers, and counters.shards is {settings.counters.shards}: run "
            f"`{service_command()} reshard` before the next start",
            file=sys.stderr,
        )
    return EXIT_DONE
