"""Whether anything grows in a long run at a steady load: memory, threads, descriptors, files.

    python -m bench.soak [--minutes 60] [--rate 3000] [--videos 20000] [--samples FILE]

A service of its own, on a real nsqd if PATH has one, with the reference client. The producer puts `--rate`
plays a second on the queue. `counters.dedupe_window_s` is a twelfth of the run, so seen ids expire and come
for most of the warm-up too. Each sample has the resident memory, the descriptors and the threads of each
process, the bytes of each kind of file in the state folder, and the number of files there and in the folder
for temporary files. `--samples` gets each sample as a line of JSON at once. Uniform is the distribution whose
load stays the same: after the warm-up of an hour all videos have 100 plays. With zipf, fewer and fewer are
published on receipt.

A figure grows or is flat by the rule in bench/flatness.py. The exit code is 1 if a figure of the service
grows, if a total is not exact, if a promise to the client was broken, or if a process was restarted. The
figures of nsqd and of the producer are shown, but not judged; nor is the backlog, the videos with unpublished
plays. Where it grows, the machine is too slow for the load, and memory grows with it.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from actors.cli.launch import Service, wait_for
from actors.cli.own_service import interruptible
from tests.support.queues import QUEUES, QueueProcess, nsqd_path, open_queue
from tests.support.services import ANY_PORTS, Load, reading

from .command import add_json, folder, parser, show, write_json
from .flatness import PARTS, Sample, Trend, trends
from .soak_samples import Sampler

MINUTE_S = 60.0
SAMPLE_S = 10.0
SAMPLES_MIN = 60  # a short run is sampled more often than each `SAMPLE_S`
WINDOW_SHARE = 1 / 12  # of the run: how long messages are known. They expire from then on
END_S = 600.0  # after the last play: for the last deadline, on a busy machine too
NOT_JUDGED = ("nsqd", "producer", "backlog")


class Ran(Struct, frozen=True):
    """What was seen in a run. `plays`: those offered. `wrong`: what is wrong at the end, in sentences."""

    samples: list[Sample]
    plays: int
    counted_in_time: int
    report: dict[str, Any]
    wrong: list[str]


def main() -> int:
    """Run, measure and print. Returns the exit code."""
    arguments = parser(__doc__)
    arguments.add_argument("--minutes", type=float, default=60.0)
    arguments.add_argument("--rate", type=float, default=3000.0, help="plays a second")
    arguments.add_argument("--videos", type=int, default=20_000)
    arguments.add_argument("--distribution", default="uniform", help="of the plays: as the producer's")
    arguments.add_argument("--queue", choices=QUEUES, default="nsqd" if nsqd_path() else "embedded")
    arguments.add_argument("--set", action="append", default=[], help="a setting, as for supervisor.py")
    arguments.add_argument("--samples", type=Path, metavar="FILE", help="write each sample there at once")
    add_json(arguments)
    options = arguments.parse_args()
    run_s = options.minutes * MINUTE_S
    try:
        with interruptible(), folder() as path, _running(options, run_s, path) as (service, nsqd):
            ran = _soak(options, run_s, path, service, nsqd)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 1
    found = trends(ran.samples)
    _show(found, options)
    grown = [one for one in found if one.grows and _is_judged(one)]
    wrong = [f"{one.what} grows: {one.first:,.1f} to {one.last:,.1f} {one.unit}" for one in grown] + ran.wrong
    print(f"{ran.plays:,} plays; {ran.counted_in_time / run_s:,.0f} a second were counted")
    print(f"the client: {_client(ran.report)}")
    print("\n".join(wrong) or "flat, and every total is exact")
    write_json(options.json, found)
    return 1 if wrong else 0


@contextlib.contextmanager
def _running(
    options: argparse.Namespace, run_s: float, path: Path
) -> Iterator[tuple[Service, QueueProcess | None]]:
    """A running service, whose temporary files are in a folder of its own, and its nsqd if that is real."""
    (path / "tmp").mkdir()
    os.environ["TMPDIR"] = str(path / "tmp")
    settings = [*ANY_PORTS, f"counters.dedupe_window_s={max(1.0, run_s * WINDOW_SHARE)}", *options.set]
    with contextlib.ExitStack() as stack:
        nsqd = None
        if options.queue == "nsqd":
            nsqd = stack.enter_context(open_queue("nsqd", path))
            settings += [reading(nsqd.tcp_address), f'nsq.nsqd_http_addresses=["{nsqd.http_address}"]']
        service = Service(path / "state", settings)
        stack.callback(service.end)
        service.start(stdout=subprocess.DEVNULL)
        yield service, nsqd


def _soak(
    options: argparse.Namespace, run_s: float, path: Path, service: Service, nsqd: QueueProcess | None
) -> Ran:
    """Offer the load, and take samples while it comes."""
    words = ["--plays", round(options.rate * run_s), "--videos", options.videos, "--rate", options.rate]
    load = Load(service, path, *map(str, words), "--seed", "1", "--distribution", options.distribution)
    try:
        others = {"producer": load.process.pid} | ({} if nsqd is None else {"nsqd": nsqd.pid})
        sampler = Sampler(service, path / "tmp", others)
        wait_for(lambda: service.status()["plays"]["counted"], "the first play", END_S, service.log)
        samples = _sample(sampler, service, run_s, options.samples)
        counted_in_time = service.status()["plays"]["counted"]
        manifest = load.wait(END_S)
    finally:
        load.process.kill()
    status = wait_for(lambda: service.caught_up(manifest["plays"]), "all published", END_S, service.log)
    wrong = _wrong(service, status, manifest)
    return Ran(samples, manifest["plays"], counted_in_time, service.report(), wrong)


def _sample(sampler: Sampler, service: Service, run_s: float, file: Path | None) -> list[Sample]:
    """Take samples for so long."""
    every_s = min(SAMPLE_S, run_s / SAMPLES_MIN)
    samples: list[Sample] = []
    began_s = time.monotonic()
    while (at_s := time.monotonic() - began_s) < run_s or len(samples) < PARTS:
        sample = Sample(at_s, sampler.take())
        samples.append(sample)
        if file is not None:
            _append(file, sample, service.status(), service.report())
        time.sleep(max(0.0, began_s + len(samples) * every_s - time.monotonic()))
    return samples


def _append(file: Path, sample: Sample, status: dict[str, Any], report: dict[str, Any]) -> None:
    values = {f"{what}, {unit}": value for (what, unit), value in sample.values.items()}
    line = {"at_s": round(sample.at_s, 1), **values, "plays": status["plays"], "report": report}
    with open(file, "a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def _wrong(service: Service, status: dict[str, Any], manifest: dict[str, Any]) -> list[str]:
    """What is wrong once all is published, in sentences."""
    found = [
        f"{child['id']} was restarted {child['restarts']} times: {child['last_exit']['how']}"
        for child in status["children"]
        if child["restarts"]
    ]
    if service.totals() != manifest["totals"]:
        found.append("the totals that the client has are not those of the plays")
    broken = service.report()["promises_broken_by_promise"]
    found += [f"the promise {name} was broken {times} times" for name, times in broken.items() if times]
    return found


def _is_judged(one: Trend) -> bool:
    return not one.what.startswith(NOT_JUDGED)


def _client(report: dict[str, Any]) -> str:
    """What the client tells of publishes and of how late they were."""
    realtime = report["realtime_latency_ms"]
    return (
        f"{report['publishes']['total']:,} publishes; {report['late']} totals late, "
        f"{report['late_by_client']} because of the client, {report['overdue']} overdue when received; "
        f"realtime median {realtime['p50']} ms, p99 {realtime['p99']} ms"
    )


def _show(found: list[Trend], options: argparse.Namespace) -> None:
    rows = [
        (
            one.what,
            one.unit,
            *(f"{value:,.1f}" for value in (one.first, one.middle, one.last)),
            f"{one.percent_an_hour:+.1f} %",
            ("grows" if one.grows else "flat") if _is_judged(one) else "not judged",
        )
        for one in found
    ]
    what = f"{options.rate:,g} plays/s of {options.videos:,} videos ({options.distribution}), {options.queue}"
    columns = ("of", "unit", "after 1/3", "at 2/3", "end", "an hour", "verdict")
    show(columns, rows, f"{what}, {options.minutes:g} minutes", texts=2)


if __name__ == "__main__":
    sys.exit(main())
