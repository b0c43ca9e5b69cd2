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
    """Have the ledgers count the plays of the topic in the settings, told apart by its `nsq.play_id`."""
    from ..store.topic import Counted, accept_topic

    topic, play_id = settings.nsq.topic, settings.nsq.play_id
    before = accept_topic(settings.supervisor.state_dir, topic, play_id)
    by = f" by nsq.play_id = {play_id!r}" if play_id or before.play_id else ""
    if before == Counted(topic, play_id):
        what = f"the plays of nsq.topic = {topic!r}{by} already"
        print(f"the ledgers count {what}: nothing to do", file=sys.stderr)
        return EXIT_DONE
    had = ""
    if before.topic not in (None, topic):
        had = f"; they have those of {before.topic!r}, and both add up"
    elif before.topic is not None:
        had = f"; what they counted by nsq.play_id = {before.play_id!r} is not recognised if it comes again"
    print(f"the ledgers count the plays of nsq.topic = {topic!r}{by} from now on{had}", file=sys.stderr)
    return EXIT_DONE
