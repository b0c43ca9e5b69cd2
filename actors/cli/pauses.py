"""The commands pause, resume and set: what they change of a running service holds until its next start."""

import argparse
import sys

from ..config import Settings
from ..system.exits import EXIT_DONE
from . import admin_client


def pause(settings: Settings, options: argparse.Namespace) -> int:
    """Pause or resume a part of the service, as `options.action` says. Raises `Failure`."""
    print(admin_client.pause(settings, options.action, options.part), file=sys.stderr)
    return EXIT_DONE


def set_value(settings: Settings, options: argparse.Namespace) -> int:
    """Use another value for a setting. Raises `Failure`."""
    name, equals, value = options.assignment.partition("=")
    if not equals:
        options.usage_error(f"{options.assignment!r}, expected SECTION.KEY=VALUE")
    print(admin_client.set_value(settings, name.strip(), value.strip()), file=sys.stderr)
    return EXIT_DONE
