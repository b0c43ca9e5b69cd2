"""The command reload: what SIGHUP does, with a report."""

import argparse

from ..config import Settings
from ..system.exits import EXIT_DONE, EXIT_FAILED
from . import admin_client


def run(settings: Settings, _: argparse.Namespace) -> int:
    """Have the running service read its files again, and print what came of it. Raises `Failure`."""
    found = admin_client.reload(settings)
    for title, lines in (
        ("in force now", found["in_force"]),
        ("needs a restart", found["need_restart"]),
        ("can't be used", found["refused"]),
        ("not looked at", found["not_read"]),
    ):
        for line in lines:
            print(f"{title}: {line}")
    if not any(found.values()):
        print("nothing has changed")
    return EXIT_FAILED if found["refused"] else EXIT_DONE
