"""Commands about the ledgers in the state folder: reshard, accept-topic."""

import argparse
import sys

from ..config import Settings
from ..system.exits import EXIT_DONE


def reshard(settings: Settings, options: argparse.Namespace) -> int:
    """Divide the ledgers for the number of shards in the settings."""
    from ..store.reshard import reshard

    shards = settings.counters.shards
    done = reshard(settings.supervisor.state_dir, shards)
    if done is None:
        print(f"the ledgers already have counters.shards = {shards}: nothing to do", file=sys.stderr)
    else:
        print(
            f"divided {done.plays} plays of {done.videos} videos from {done.shards_before} ledgers into "
            f"{done.shards}; each knows all {done.ids} message ids; batches to confirm: {done.batches}",
            file=sys.stderr,
        )
    return EXIT_DONE


def accept_topic(settings: Settings, options: argparse.Namespace) -> int:
    """Have the ledgers count the plays of the topic in the settings."""
    from ..store.topic import accept_topic

    topic = settings.nsq.topic
    before = accept_topic(settings.supervisor.state_dir, topic)
    if before == topic:
        print(f"the ledgers count the plays of nsq.topic = {topic!r} already: nothing to do", file=sys.stderr)
    else:
        had = "" if before is None else f"; they have those of {before!r}, and both add up"
        print(f"the ledgers count the plays of nsq.topic = {topic!r} from now on{had}", file=sys.stderr)
    return EXIT_DONE
