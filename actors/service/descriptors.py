"""The limit of open files (`ulimit -n`): whether it is enough for the settings, and what it makes smaller."""

from collections.abc import Sequence

from ..config import Settings
from ..system.connections import CONNECTIONS_MAX, SHARE, connections_max, descriptors_max
from ..system.exits import Failure

# Counted in running processes, and rounded up: what a process opens for itself, and for each child or peer.
OWN = 30
SUPERVISOR_FOR_CHILD = 3
REMEDY = "raise it (ulimit -n, LimitNOFILE= of systemd, --ulimit nofile= of a container)"


def check(settings: Settings, children: Sequence[str]) -> str:
    """Return what this process's limit makes smaller, in words; "" if nothing.

    `children`: the ids of all. Raises `Failure` if a process of this service would have too few.
    """
    limit = descriptors_max()
    if limit is None:
        return ""
    shards = settings.counters.shards
    needs = {
        # Listeners may take their share of the limit, so the rest has to be enough.
        "the supervisor": (
            (OWN + SUPERVISOR_FOR_CHILD * len(children)) * SHARE // (SHARE - 1),
            "counters.shards",
        ),
        "the dispatcher": (OWN + shards + settings.publish.in_flight_max, "publish.in_flight_max"),
        "the consumer": (OWN + shards + len(settings.nsq.nsqd_tcp_addresses), "counters.shards"),
    }
    for who, (needed, setting) in needs.items():
        if limit < needed:
            raise Failure(
                f"a process may open {limit:,} files, expected at least {needed:,}, which {who} may need: "
                f"{REMEDY}, or set {setting} lower"
            )
    if connections_max() >= CONNECTIONS_MAX:
        return ""
    return (
        f"a process may open {limit:,} files: each address that it listens on takes at most "
        f"{connections_max():,} connections at once, and closes others; for {CONNECTIONS_MAX:,} of them "
        f"{REMEDY} to {CONNECTIONS_MAX * SHARE:,}"
    )
