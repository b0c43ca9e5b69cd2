"""Commands about the settings: config, and config --example."""

import argparse
import sys

from .. import config
from ..config import Settings
from ..supervision.printable import Lines
from ..supervision.standard_streams import print_json
from ..system import runfile
from ..system.exits import EXIT_DONE, Failure

SET_WHILE_RUNNING = "set while running"  # the source of a value


def show(settings: Settings, options: argparse.Namespace) -> int:
    """Print every setting in force, and where its value came from."""
    changed = _set_while_running(settings)
    found = [
        one._replace(value=config.shown_value(one.value))
        for one in config.explain(options.config, options.set)
    ]
    found = [
        one._replace(value=changed[one.key], source=SET_WHILE_RUNNING, is_default=False)
        if one.key in changed
        else one
        for one in found
    ]
    if options.json:
        print_json([one._asdict() for one in found])
    else:
        from .settings_table import show_settings

        show_settings(found)
    return EXIT_DONE


def _set_while_running(settings: Settings) -> dict[str, float]:
    """The values that the running service has in place of the settings'; none if none runs, or it hangs."""
    from . import admin_client

    if runfile.read(settings.supervisor.state_dir) is None:
        return {}
    try:
        told = admin_client.status(settings).get("set_while_running")
    except Failure as failure:
        print(f"what was set while the service runs is not known: {failure}", file=sys.stderr)
        return {}
    values = told if isinstance(told, dict) else {}
    return {name: value for name, value in values.items() if isinstance(value, (int, float))}


def print_example() -> None:
    """Print a config.toml to begin with."""
    sys.stdout.write(Lines(config.example()))
