"""`drill --here`: kill children of the running service, under the load that is there. It makes no plays.

It says what it will do, and asks, before it kills anything. It leaves the service one restart that it may
need for itself. Afterwards it compares queue, ledgers and client (`agreement.py`). The embedded queue is not
killed: what it counts is the proof.
"""

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from rich.text import Text

from ..config import Settings
from ..core import guids
from ..store import TotalsReader
from ..supervision.printable import printable
from ..system.exits import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, Failure
from ..tree import NSQD, publishes_to_client
from . import admin_client, agreement
from .agreement import Bounds, Sample, Told, Verdict
from .kills import Kill, ended_by_ctrl_c, kill, line, show_table
from .launch import Service, wait_for
from .page import Page

SPARE = 1.1  # of the pause, so that a window of the restart intensity never has one kill more
MEASURE_TIMEOUT_S = 15.0
SAMPLE_PAUSE_S = 0.1
ANSWER_TIMEOUT_S = 30.0


class Measured(NamedTuple):
    """What was measured of the queue and the ledgers, and when the nsqds started."""

    bounds: Bounds
    started_s: tuple[int, ...]


def run(settings: Settings, options: argparse.Namespace, seed: int, console: Page) -> int:
    """Run the drill on the running service. Returns 0 if queue, ledgers and client are proven to agree."""
    state_dir = settings.supervisor.state_dir
    pid = admin_client.facts_of_service(settings)["pid"]
    admin_client.check_signals(settings)
    service = Service(Path(state_dir), options.set, options.config)
    status = admin_client.status(settings)
    pause_s = pause_of(status)
    victims = ", ".join(victims_of(status))
    console.print(
        f"the drill kills {victims} of the service that runs on {printable(state_dir)} (pid {pid}), "
        f"{options.kills} kills in all, at least {pause_s:.1f} s apart; seed {seed}\n"
        "it makes no plays; plays that are in flight come again, and publishes may be late",
        soft_wrap=True,
    )
    if not options.yes and (refusal := _refusal(console)):
        return refusal
    before = _measure(service, MEASURE_TIMEOUT_S)
    redelivered = status["plays"]["redelivered"]
    _wait_calm(service, status, console)
    kills = _kill(service, options.kills, pause_s, random.Random(seed), console)
    patience_s = settings.dispatch.deadline_s + settings.nsq.msg_timeout_s + MEASURE_TIMEOUT_S
    after = _measure(service, patience_s, settles=True)
    if after.started_s != before.started_s:
        raise Failure("nothing is proven: an nsqd was started again meanwhile, and counts from 0 again")
    told = _told(service, state_dir) if publishes_to_client(settings) else None
    redelivered = admin_client.status(settings)["plays"]["redelivered"] - redelivered
    code = _show(kills, redelivered, agreement.judge(before.bounds, after.bounds), told)
    return EXIT_FAILED if len(kills) < options.kills else code


def victims_of(status: dict[str, Any]) -> list[str]:
    """Return the children that may be killed now. Raises `Failure` if no child may."""
    found = [one["id"] for one in status["children"] if one["state"] == "running" and one["id"] != NSQD]
    if not found:
        raise Failure("no child runs that could be killed; see `status`")
    return found


def pause_of(status: dict[str, Any]) -> float:
    """Return the least time from one kill to the next, in seconds, as the restart intensity allows.

    One restart of each window stays for a child that ends by itself. Raises `Failure` if none is allowed.
    """
    for one in status["supervisors"]:
        if not one["max_restarts"]:
            raise Failure(
                f"the supervisor {one['id']} allows no restart (max_restarts = 0), expected 1 or more: the "
                "first kill would end the service"
            )
    pauses = [one["max_seconds"] / max(1, one["max_restarts"] - 1) for one in status["supervisors"]]
    return SPARE * float(max(pauses))


def _refusal(console: Page) -> int | None:
    """Ask. Returns the exit code if the answer is no, or there is nobody to ask."""
    if sys.stdin is None or not sys.stdin.isatty():
        print("nothing was done: there is no terminal to ask on, expected --yes", file=sys.stderr)
        return EXIT_USAGE
    console.print("go on? [y/N] ", end="")
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return None
    console.print("nothing was done")
    return EXIT_FAILED


def _measure(service: Service, patience_s: float, settles: bool = False) -> Measured:
    """Compare queue and ledgers, again and again, until the result is exact or the time is up.

    `settles`: wait also until nothing is pending. Raises `Failure` if they can't be compared.
    """
    ends_s = time.monotonic() + patience_s
    bounds: Bounds | None = None
    last: Sample | None = None
    started_s: tuple[int, ...] = ()
    why = "no answer"
    while time.monotonic() < ends_s:
        status = wait_for(service.status, "the service to answer", ANSWER_TIMEOUT_S)
        sample = agreement.sample_of(status)
        if isinstance(sample, str):
            last, why = None, sample
        else:
            if last is None or last.started_s != sample.started_s:
                last = sample
                continue  # at once, so that little moves meanwhile
            bounds, started_s = agreement.narrowed(bounds, agreement.bounds(last, sample)), last.started_s
            last = None
            if bounds.width <= 0 and not (settles and status["pending_videos"]):
                break
        time.sleep(SAMPLE_PAUSE_S)
    if bounds is None:
        raise Failure(f"queue and ledgers can't be compared: {why}")
    return Measured(bounds, started_s)


def _wait_calm(service: Service, status: dict[str, Any], console: Page) -> None:
    """Wait until the restarts of before the drill are forgotten."""
    window_s = max(one["max_seconds"] for one in status["supervisors"])

    def calm() -> bool:
        children = service.status()["children"]
        return all(one["uptime_s"] > window_s for one in children if one["restarts"])

    if not calm():
        console.print(f"a child was restarted in the last {window_s:g} s: waiting until that is over")
        wait_for(calm, "a time without restarts", 2 * window_s + ANSWER_TIMEOUT_S)


def _kill(service: Service, kills: int, pause_s: float, chance: random.Random, console: Page) -> list[Kill]:
    done: list[Kill] = []
    with ended_by_ctrl_c(console) as ended:
        for number in range(1, kills + 1):
            next_s = time.monotonic() + pause_s
            status = wait_for(service.status, "the service to answer", ANSWER_TIMEOUT_S)
            done.append(kill(service, chance.choice(victims_of(status))))
            console.print(line(number, kills, done[-1]))
            if number < kills and ended.wait(max(0.0, next_s - time.monotonic())):
                break
    return done


def _told(service: Service, state_dir: str) -> Told:
    """Compare the client's totals with the ledgers', which are read before and after."""

    def ledgers() -> dict[str, tuple[int, int]]:
        rows = TotalsReader(state_dir).read()
        return {guids.text(video): (total, published) for video, total, published in rows}

    before = ledgers()
    (told,) = wait_for(lambda: [service.totals()], "the client's totals", ANSWER_TIMEOUT_S)
    return agreement.compare(before, told, ledgers())


def _show(kills: list[Kill], redelivered: int, verdict: Verdict, told: Told | None) -> int:
    console = Page()
    show_table(kills, console)
    console.print(f"\n{len(kills)} kills, {redelivered:,} redeliveries recognised")
    lines = [f"queue and ledgers: lost {verdict.lost:,}, counted twice {verdict.doubled:,}"]
    if told is None:
        console.print("the client was not asked for its totals: publish.url is not the reference client's")
    else:
        lines.append(
            f"ledgers and client: {told.videos:,} videos, {told.missing:,} plays that the client lacks, "
            f"{told.too_many:,} that it has too many"
        )
    broken = bool(verdict.lost or verdict.doubled or (told and (told.missing or told.too_many)))
    for one in lines:
        console.print(Text(one, style="bold red" if broken else "bold green"), soft_wrap=True)
    if verdict.unsure:
        unsure = (
            f"not proven: the load never paused, so up to {verdict.unsure:,} messages could be lost or "
            "counted twice unseen; run it again where no play comes for a moment"
        )
        console.print(Text(unsure, style="bold yellow"), soft_wrap=True)
    return EXIT_FAILED if broken or verdict.unsure else EXIT_DONE
