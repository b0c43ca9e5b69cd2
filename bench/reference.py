"""What a publish costs the reference client, while it is the client of a service whose deadlines press."""

import time
from collections.abc import Sequence
from pathlib import Path

from .backlog import Queue
from .checkouts import Checkout, Service
from .processes import CpuUse

LOOK_S = 0.25  # each look asks every process of the service
TIMEOUT_S = 600.0
SETTINGS = ("client.address=127.0.0.1:0",)


def cpu_us_a_publish(
    tree: Checkout, queue: Queue, bodies: Sequence[bytes], settings: Sequence[str], path: Path
) -> dict[str, float]:
    """CPU a publish of each child, from when some publishes were made until all plays are published.

    `settings`: where the plays are, and when they are published.
    """
    with Service(tree, path, [*SETTINGS, *settings]) as service:
        children = {child["id"]: child["pid"] for child in service.status()["children"]}
        service.wait_for(queue.is_read, "connect to its queue", TIMEOUT_S)
        queue.put(bodies)
        service.wait_for(lambda: _published(service)[1] > 0, "publish", TIMEOUT_S)
        before, cpu = _published(service)[0], CpuUse(children)
        while (found := _published(service))[1] < len(bodies):
            time.sleep(LOOK_S)
        publishes = found[0] - before
        return {name: seconds / publishes * 1e6 for name, seconds in cpu.used_s().items()}


def _published(service: Service) -> tuple[int, int]:
    """How many publishes were made, and how many videos were in them."""
    publishes = service.status()["publishes"]
    return publishes["total"], publishes["videos"]
