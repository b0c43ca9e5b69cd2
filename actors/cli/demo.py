"""`demo`: the whole job once, with a service of its own, a real load, and a report.

Everything in it is real: processes, queue, disk, HTTP. It asks the service only what any user can ask, and
judges only by what the client was told.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from subprocess import Popen, TimeoutExpired

from rich.text import Text

from producer.arguments import Arguments, ArgumentsError, parse

from .. import config
from ..config.promises import promises_of
from ..supervision import printable
from ..system.early_signals import INTERRUPTED
from ..system.exits import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, Failure
from ..system.reasons import reason_of
from ..system.temporary import keep, scratch_folder
from . import audit_run
from .demo_progress import Bars, PlainLines, figures_of
from .launch import Service, produce, wait_for
from .own_service import interruptible, own_service
from .page import Page
from .recordings import read_publishes
from .report import DemoRun, findings, render

RECORD = "received.jsonl"
POLL_S = 0.1


def run(settings: config.Settings, options: argparse.Namespace) -> int:
    """Do the job and print the report on stdout. Returns 0 if every promise held, else 1 or 2."""
    load = ["--plays", options.plays, "--videos", options.videos, "--seconds", options.seconds]
    if options.quiet_videos is not None:
        load += ["--quiet-videos", options.quiet_videos]
    load += ["--seed", options.seed]
    try:
        asked = parse(load)
    except ArgumentsError as error:
        print("wrong arguments:", *error.problems, sep="\n", file=sys.stderr)
        return EXIT_USAGE
    with scratch_folder("demo") as folder:
        return _run(settings, options, asked, load, folder)


def _run(
    settings: config.Settings, options: argparse.Namespace, asked: Arguments, load: list[str], folder: Path
) -> int:
    console = Page(stderr=True)
    service = own_service(folder, options.set, options.config, f"client.record={folder / RECORD}")
    try:
        with interruptible(), service:
            page = f"http://{service.address('client_address')}/"
            console.print(Text.assemble("the service runs; watch it at ", (page, f"link {page}")))
            result = _work(service, folder / "manifest.json", settings, asked, load, console)
            result.exit_code = service.stop()
    except (Failure, OSError, TimeoutExpired) as error:
        why, *more = map(str, error.args) if isinstance(error, Failure) else [reason_of(error)]
        console.print(printable.indented(f"the demo ended early: {why}", *more), style="red")
        console.print(printable.printable(f"the service's log is {service.log_file}"), style="red")
        keep(folder)
        return EXIT_FAILED
    except KeyboardInterrupt:
        console.print(INTERRUPTED["demo"])
        return EXIT_FAILED
    found = findings(result)
    render(result, found)
    if any(not finding.held for finding in found):
        where = printable.printable(str(folder))
        console.print(f"the log, the publishes and the ledgers are in {where}", style="red")
        keep(folder)
        return EXIT_FAILED
    return EXIT_DONE


def _work(
    service: Service,
    manifest: Path,
    settings: config.Settings,
    asked: Arguments,
    load: list[str],
    console: Page,
) -> DemoRun:
    started_s = time.monotonic()
    # Two processes that draw on one terminal would overwrite each other.
    log_file = manifest.with_name("producer.log")
    producer = produce(service, *load, manifest=manifest, log_file=log_file)
    try:
        seconds = _follow(service, asked.plays, settings.dispatch.deadline_s, producer, started_s, console)
        if producer.wait() != 0:
            told = printable.Lines(log_file.read_text())
            raise Failure("the producer failed:", told)
    finally:
        producer.terminate()  # does nothing if it has ended, as it has unless something failed
        producer.wait()
    status = wait_for(service.caught_up, "the last publish to be recorded", 10 + settings.publish.timeout_s)
    received = read_publishes(str(manifest.with_name(RECORD)), None)
    return DemoRun(
        manifest=json.loads(manifest.read_text(encoding="utf-8")),
        status=status,
        report=service.report(),
        told=service.totals(),
        publishes=service.publishes(),
        economy=audit_run.examine(
            received,
            None,
            promises_of(settings),
            linger_ms=0,
            overdue_linger_ms=float(settings.dispatch.overdue_linger_ms),
        ),
        count_seconds=seconds,
        produce_seconds=asked.plays / asked.plays_per_second if asked.plays_per_second else 0.0,
        deadline_s=settings.dispatch.deadline_s,
        realtime_below=settings.dispatch.realtime_below,
    )


def _follow(
    service: Service, plays: int, deadline_s: float, producer: Popen[bytes], started_s: float, console: Page
) -> float:
    """Show the progress until all plays are counted and published. Returns seconds until all were counted."""
    counted_s = 0.0
    shown = Bars(plays, console) if console.redraws else PlainLines(console)
    with shown:
        while True:
            status, now_s = service.status(), time.monotonic()
            counted = status["plays"]["counted"]
            if counted >= plays and not counted_s:
                counted_s = now_s - started_s
            left_s = started_s + counted_s + deadline_s - now_s
            shown.show(figures_of(status, plays, left_s), now_s)
            if status["caught_up"] and counted >= plays:
                return counted_s
            if producer.poll() not in (None, 0):
                return counted_s
            time.sleep(POLL_S)
