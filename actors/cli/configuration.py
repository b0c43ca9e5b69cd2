"""Commands about the settings: config, and config --example."""

import argparse
import sys

from .. import config
from ..config import Settings
from ..supervision.printable import Lines
from ..supervision.standard_streams import print_json
from ..system.exits import EXIT_DONE


def show(settings: Settings, options: argparse.Namespace) -> int:
    """Print every setting in force, and where its value came from."""
    from .settings_table import show_settings

    found = [
        one._replace(value=config.shown_value(one.value))
        for one in config.explain(options.config, options.set)
    ]
    if options.json:
        print_json([one._asdict() for one in found])
    else:
        show_settings(found)
    return EXIT_DONE


class Example(argparse.Action):
    """Prints the example and ends, as `--version` does, even if the config file in force is wrong."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(Lines(config.example()))
        parser.exit()
