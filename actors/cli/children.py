"""Commands about one child: kill, terminate, restart."""

import argparse
import sys
from typing import Any

from ..config import Settings
from ..system.exits import EXIT_DONE, Failure
from ..system.installation import service_command


def kill(settings: Settings, options: argparse.Namespace) -> int:
    """Send a signal to the process of a child."""
    from ..supervision.processes import send_signal
    from . import admin_client

    child = _find_child(admin_client.status(settings), options.child)
    # A child that is down keeps its last pid, which may belong to another process by now.
    if child["state"] == "stopped" or child["pid"] is None or not send_signal(child["pid"], options.signal):
        raise Failure(f"{child['id']} has no process just now; see `{service_command()} status`")
    print(f"sent {options.signal.name} to {child['id']} (pid {child['pid']})", file=sys.stderr)
    return EXIT_DONE


def act(settings: Settings, options: argparse.Namespace) -> int:
    """Have the child's supervisor do `options.action` to it: "terminate" or "restart"."""
    from . import admin_client

    child = _find_child(admin_client.status(settings), options.child)
    print(admin_client.act(settings, child["id"], options.action), file=sys.stderr)
    return EXIT_DONE


def _find_child(status: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the child with that id, or the only one whose id begins with it. Raises `Failure`."""
    children: dict[str, dict[str, Any]] = {child["id"]: child for child in status["children"]}
    meant = [name] if name in children else [one for one in children if name and one.startswith(name)]
    if len(meant) != 1:
        expected = ", ".join(meant or children)
        raise Failure(f"no child {name!r}, expected one of {expected}")
    return children[meant[0]]
