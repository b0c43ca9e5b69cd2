"""The producer's command line: reads the arguments, runs the producer, and prints the result.

stdout gets only the manifest, and only if that was asked for. stderr gets everything else. The exit
code is 0 if every play was acknowledged, 1 if not (with the reason), and 2 if arguments or settings
are wrong (with all problems). SIGINT, SIGTERM and SIGHUP stop a run. This module decides nothing about
plays.
"""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Sequence

from actors.sources.security import Security
from actors.supervision.standard_streams import with_open_streams
from actors.system import early_signals, lifeline
from actors.system.reasons import reason_of
from producer import arguments, discovery, manifest, progress, workload
from producer.pace import Pace
from producer.publisher import Publisher

DONE, FAILED, WRONG_ARGUMENTS = 0, 1, 2
SHOW_EVERY_S = 0.2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the producer with `argv`, by default this process's arguments. Returns the exit code."""
    return with_open_streams(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    try:
        asked = arguments.parse(sys.argv[1:] if argv is None else argv)
    except arguments.ArgumentsError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return WRONG_ARGUMENTS
    # The producer itself reports what happens to connections, so the libraries need not.
    logging.getLogger("nsq").setLevel(logging.ERROR)
    logging.getLogger("tornado.general").setLevel(logging.ERROR)
    for number in _stopping():
        signal.signal(number, signal.default_int_handler)
    lifeline.hold()
    try:
        load = workload.make(asked.seed, asked.plays, asked.videos, asked.quiet_videos, asked.distribution)
        return asyncio.run(_produce(asked, load))
    except KeyboardInterrupt:
        print(early_signals.NOTHING_PRODUCED, file=sys.stderr)
        return FAILED


def _stopping() -> list[signal.Signals]:
    """The signals that stop a run. Under nohup SIGHUP is not one: it is ignored from the start."""
    hangup = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hangup]


async def _produce(asked: arguments.Arguments, load: workload.Workload) -> int:
    shown = progress.on_stderr(load.plays)
    try:
        if asked.seed_was_drawn:
            shown.say(f"seed {asked.seed} (make the same plays again with --seed {asked.seed})")
        publisher = Publisher(
            load,
            asked.settings.nsq.topic,
            discovery.locator(asked.settings),
            Pace(asked.plays_per_second) if asked.plays_per_second else None,
            shown.say,
            Security(asked.settings.nsq),
            asked.settings.nsq.play_id,
        )
        for number in _stopping():
            asyncio.get_running_loop().add_signal_handler(number, publisher.stop, f"stopped by {number.name}")
        showing = asyncio.create_task(_show(shown, publisher))
        try:
            await publisher.run()
        finally:
            showing.cancel()
    finally:
        shown.close()
    return _conclude(asked, load, publisher)


async def _show(shown: progress.Bar | progress.PlainLines, publisher: Publisher) -> None:
    while True:
        if publisher.started_s is not None:
            shown.update(publisher.deliveries.acknowledged_plays, time.monotonic())
        await asyncio.sleep(SHOW_EVERY_S)


def _conclude(asked: arguments.Arguments, load: workload.Workload, publisher: Publisher) -> int:
    """Write the manifest, print the result, and return the exit code."""
    deliveries = publisher.deliveries
    totals = deliveries.acknowledged(load.videos)
    problems = _problems(load, publisher)
    where = "none"
    if asked.manifest is not None:
        unknown = deliveries.unknown(load.videos)
        try:
            manifest.write(asked.manifest, manifest.describe(asked.seed, totals, unknown))
            where = "on stdout" if asked.manifest == manifest.STDOUT else asked.manifest
        except OSError as error:
            problems.append(f"--manifest {asked.manifest}: could not be written: {reason_of(error)}")
    quiet_videos = sum(1 for total in totals.values() if total <= workload.QUIET_MAX)
    speed = ""
    if publisher.seconds:
        speed = f", {progress.speed_text(deliveries.acknowledged_plays / publisher.seconds)} plays/s"
    print(
        f"produced {deliveries.acknowledged_plays} plays of {len(totals)} videos"
        f" ({quiet_videos} quiet) in {publisher.seconds:.2f} s{speed}; seed {asked.seed}; manifest: {where}",
        file=sys.stderr,
    )
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return FAILED if problems else DONE


def _problems(load: workload.Workload, publisher: Publisher) -> list[str]:
    """The reasons why plays are not acknowledged. Empty if all plays are acknowledged."""
    deliveries = publisher.deliveries
    problems = []
    if deliveries.unknown_plays:
        problems.append(
            f"{deliveries.unknown_plays} plays have an unknown outcome: the connection to the queue"
            " ended after they were sent and before the answer. They may or may not be on the"
            ' queue; the manifest counts them under "unacknowledged", not in the totals'
        )
    if deliveries.waiting_plays:
        problems.append(
            f"{publisher.stopped_because}: {deliveries.waiting_plays} of {load.plays} plays were"
            " not sent; the manifest leaves them out"
        )
    elif publisher.stopped_because and deliveries.unknown_plays:
        problems.append(publisher.stopped_because)
    return problems
