"""Commands about the ledgers in the state folder: totals, reshard, accept-topic."""

import argparse
import operator
import sys

from ..config import Settings
from ..supervision.standard_streams import print_json
from ..system.exits import EXIT_DONE, EXIT_FAILED, Failure


def totals(settings: Settings, options: argparse.Namespace) -> int:
    """Print the totals in the ledgers, or with --verify check every ledger."""
    from ..core import guids
    from ..store import TotalsReader
    from . import screen

    if options.verify:
        return _verify(settings)
    reader = TotalsReader(settings.supervisor.state_dir)
    if not reader.found:
        raise Failure(
            f"no ledgers in {settings.supervisor.state_dir}, expected those of a service that has run: "
            "see supervisor.state_dir"
        )
    rows = sorted(reader.read())  # by video; then, as sorting keeps that order, by total
    rows.sort(key=operator.itemgetter(1), reverse=True)
    if options.json:
        print_json({guids.text(video): total for video, total, _ in rows})
    else:
        screen.show_totals(rows)
    return EXIT_DONE


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


def _verify(settings: Settings) -> int:
    from ..store.verify import verify

    findings = verify(settings.supervisor.state_dir)
    if not findings:
        raise Failure(f"no ledgers in {settings.supervisor.state_dir}: see supervisor.state_dir")
    for finding in findings:
        print(finding)
    return EXIT_FAILED if any(finding.wrong for finding in findings) else EXIT_DONE
