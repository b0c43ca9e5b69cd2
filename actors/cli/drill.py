"""A drill: kill children at random under load, and prove that no play was lost or counted twice.

It brings its own service, queue and client (`own_service.py`), and its own load. So it knows every play, and
kills every child. `drill --here` is in `drill_here.py`.
"""

import argparse
import json
import random
import sys
from pathlib import Path
from subprocess import Popen
from typing import Any, NamedTuple

from rich.text import Text

from ..config import Settings
from ..supervision.printable import Lines
from ..system.early_signals import INTERRUPTED
from ..system.exits import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, Failure
from ..system.temporary import scratch_folder
from . import drill_here
from .kills import Kill, ended_by_ctrl_c, kill, line, show_table
from .launch import Service, produce, wait_for
from .own_service import interruptible, own_service
from .page import Page

PAUSE_S = (0.05, 0.4)  # between a child's return and the next kill, at random
PLAYS_PER_S = 4000
HURRIED = [
    "dispatch.deadline_s=2",
    "supervisor.max_restarts=10000",
    "counters_supervisor.max_restarts=10000",
]


class _Drill(NamedTuple):
    """The plan of one drill.

    `folder`: where the producer's manifest goes. `patience_s`: how long the service may take to catch up.
    """

    service: Service
    folder: Path
    kills: int
    seed: int
    patience_s: float
    console: Page


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the drill; print every kill and the proof. Returns 0 if no play was lost or counted twice."""
    if options.yes and not options.here:
        print("--yes without --here: only a drill on the running service asks", file=sys.stderr)
        return EXIT_USAGE
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    console = Page(stderr=True)
    try:
        with interruptible():
            if options.here:
                return drill_here.run(settings, options, seed, console)
            return _run(settings, options, seed, console)
    except KeyboardInterrupt:
        console.print(INTERRUPTED["drill"])
        return EXIT_FAILED


def _run(settings: Settings, options: argparse.Namespace, seed: int, console: Page) -> int:
    with scratch_folder("drill") as folder:
        service = own_service(folder, options.set, options.config, *HURRIED)
        patience_s = settings.dispatch.deadline_s + settings.nsq.msg_timeout_s + 60
        console.print(f"the drill starts a service, a queue and a client of its own; seed {seed}")
        with service:
            drill = _Drill(service, folder, options.kills, seed, patience_s, console)
            kills, manifest = _kill_under_load(drill)
            status = _wait_caught_up(drill, manifest["plays"])
            proof = _prove(service, manifest)
        _show(kills, proof, status)
        broken = proof["lost"] or proof["doubled"] or proof["untold"]
        return EXIT_FAILED if broken or len(kills) < options.kills else EXIT_DONE


def _kill_under_load(drill: _Drill) -> tuple[list[Kill], dict[str, Any]]:
    """Kill children while the producer publishes. Returns the kills, and the producer's manifest.

    Ctrl-C ends the kills early.
    """
    service, chance = drill.service, random.Random(drill.seed)
    # The producer tells of each kill of the queue, as of a failure. Here that is what is tried.
    manifest_file, log_file = drill.folder / "manifest.json", drill.folder / "producer.log"
    seconds = drill.kills * (sum(PAUSE_S) / 2 + 0.25) + 5
    producer = produce(
        service,
        *("--plays", str(int(seconds * PLAYS_PER_S)), "--rate", str(PLAYS_PER_S)),
        *("--seed", str(chance.randrange(2**31))),
        manifest=manifest_file,
        log_file=log_file,
    )
    done: list[Kill] = []
    with producer:
        try:
            wait_for(lambda: _begun(service, producer, log_file), "the first play", 30, service.log)
            victims = [child["id"] for child in service.status()["children"]]
            with ended_by_ctrl_c(drill.console) as ended:
                for number in range(1, drill.kills + 1):
                    done.append(kill(service, chance.choice(victims)))
                    drill.console.print(line(number, drill.kills, done[-1]))
                    if ended.wait(chance.uniform(*PAUSE_S)):
                        break
        except BaseException:
            producer.kill()  # nobody reads its manifest
            raise
        producer.terminate()  # it writes down what the queue acknowledged
    return done, json.loads(manifest_file.read_text(encoding="utf-8"))


def _begun(service: Service, producer: "Popen[bytes]", log_file: Path) -> bool:
    """Whether plays are counted. Raises `Failure` if none will come."""
    if producer.poll() not in (None, 0):
        told = Lines(log_file.read_text())
        raise Failure(f"the producer ended with code {producer.returncode}:", told)
    return bool(service.status()["plays"]["counted"])


def _wait_caught_up(drill: _Drill, plays: int) -> dict[str, Any]:
    """Wait until so many plays are counted and published, or no more come. Returns the status.

    Without that number, a service that does not know the plays still on the queue would seem to be done.
    """
    service, what = drill.service, "the service to catch up"
    try:
        return wait_for(lambda: service.caught_up(plays), what, drill.patience_s, service.log)
    except Failure:
        status = service.status()
        if not status["caught_up"]:
            raise
        return status  # nothing more comes, and the proof names what is missing


def _prove(service: Service, manifest: dict[str, Any]) -> dict[str, int]:
    """Compare the drill's videos in the ledgers and at the client with what the queue acknowledged."""
    result = service.command("totals", "--json")
    if result.returncode != 0:
        raise Failure("the ledgers cannot be read:", Lines(result.stderr))
    ledgers, expected = json.loads(result.stdout), manifest["totals"]
    unknown = manifest.get("unacknowledged", {})  # sent without an answer: they may be counted or not
    told = service.totals()
    videos = expected.keys() | unknown.keys()
    return {
        "plays": manifest["plays"],
        "unknown": sum(unknown.values()),
        "lost": sum(max(0, expected.get(one, 0) - ledgers.get(one, 0)) for one in videos),
        "doubled": sum(
            max(0, ledgers.get(one, 0) - expected.get(one, 0) - unknown.get(one, 0)) for one in videos
        ),
        "untold": sum(told.get(one, 0) != ledgers.get(one, 0) for one in videos),
    }


def _show(kills: list[Kill], proof: dict[str, int], status: dict[str, Any]) -> None:
    console = Page()
    show_table(kills, console)
    dropped = status["plays"]["redelivered"]
    console.print(
        f"\n{proof['plays']:,} plays acknowledged by the queue, {len(kills)} kills, "
        f"{dropped:,} redeliveries recognised"
    )
    if proof["unknown"]:
        console.print(
            f"{proof['unknown']:,} more plays had no answer from the queue: nobody knows if they were counted"
        )
    broken = proof["lost"] or proof["doubled"] or proof["untold"]
    console.print(
        Text(
            f"lost {proof['lost']}, counted twice {proof['doubled']}, totals that the client does not have "
            f"{proof['untold']}",
            style="bold red" if broken else "bold green",
        )
    )
