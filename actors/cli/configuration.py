"""Commands about the settings: config, and config --example."""

import argparse
import json
import sys

from .. import config
from ..config import Settings
from ..system.exits import EXIT_DONE


def show(settings: Settings, options: argparse.Namespace) -> int:
    """Print every setting in force, and where its value came from."""
    from . import screen

    found = [
        one._replace(value=config.shown_value(one.value))
        for one in config.explain(options.config, options.set)
    ]
    if options.json:
        print(json.dumps([one._asdict() for one in found], indent=2))
    else:
        screen.show_config(found)
    return EXIT_DONE


class Example(argparse.Action):
    """Prints the example and ends, as `--version` does, even if the config file in force is wrong."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(config.example())
        parser.exit()
