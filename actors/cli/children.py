"""Commands about one child: kill, terminate, restart. A supervisor below the root is a child too."""

import argparse
import sys
from typing import Any

from ..config import Settings
from ..system.exits import EXIT_DONE, Failure


def kill(settings: Settings, options: argparse.Namespace) -> int:
    """Send a signal to the process of a child."""
    from . import admin_client

    child = _find_child(admin_client.status(settings), options.child)
    print(admin_client.kill(settings, child["id"], options.signal.name), file=sys.stderr)
    return EXIT_DONE


def act(settings: Settings, options: argparse.Namespace) -> int:
    """Have the child's supervisor do `options.action` to it: "terminate" or "restart"."""
    from . import admin_client

    child = _find_child(admin_client.status(settings), options.child)
    print(admin_client.act(settings, child["id"], options.action), file=sys.stderr)
    return EXIT_DONE


def _find_child(status: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the child with that id, or the only process whose id begins with it. Raises `Failure`."""
    processes: dict[str, dict[str, Any]] = {child["id"]: child for child in status["children"]}
    _, *below = status["supervisors"]  # the root is nobody's child
    children: dict[str, dict[str, Any]] = processes | {supervisor["id"]: supervisor for supervisor in below}
    meant = [name] if name in children else [one for one in processes if name and one.startswith(name)]
    if len(meant) != 1:
        expected = ", ".join(meant or children)
        problem = f"{name!r} is more than one child" if meant else f"no child {name!r}"
        raise Failure(f"{problem}, expected one of {expected}")
    return children[meant[0]]
