"""A drill: kill children at random under load, and prove that no play was lost or counted twice.

It uses the running service, or starts one. It plays only videos that have no other plays, so the plays of the
drill are known from all others. It sends SIGKILL from outside the service, as any user can.
"""

import argparse
import json
import random
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..config import Settings
from ..supervision.processes import send_signal
from ..system.exits import EXIT_DONE, EXIT_FAILED, Failure
from .launch import Service, produce, wait_for

BACK_TIMEOUT_S = 30.0
PAUSE_S = (0.05, 0.4)  # between a child's return and the next kill, at random
PLAYS_PER_S = 4000
OWN_SETTINGS = [
    "embedded_nsqd.tcp_address=127.0.0.1:0",
    "embedded_nsqd.http_address=127.0.0.1:0",
    "client.address=127.0.0.1:0",
    "client.enabled=true",
    "admin.address=127.0.0.1:0",
    "dispatch.deadline_s=2",
    "supervisor.max_restarts=10000",
]


class Kill(msgspec.Struct, frozen=True):
    """One kill: the child, its pid, and the times in ms until it was linked and until it worked again."""

    child: str
    pid: int
    came_back_ms: float
    resumed_ms: float | None


class _Drill(NamedTuple):
    """The plan of one drill.

    `folder`: where the producer's manifest goes. `pause_s`: the least time from one kill to the next.
    `patience_s`: how long the service may take to catch up.
    """

    service: Service
    folder: Path
    kills: int
    seed: int
    pause_s: float
    patience_s: float
    console: Console


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the drill; print every kill and the proof. Returns 0 if no play was lost or counted twice."""
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="playtally-drill-") as name:
        folder = Path(name)
        service = Service(Path(settings.supervisor.state_dir), options.set, options.config)
        patience_s = settings.dispatch.deadline_s + settings.nsq.msg_timeout_s + 60
        drill = _Drill(service, folder, options.kills, seed, 0.0, patience_s, console)
        if service.facts() is not None:
            console.print(f"the drill uses the service that runs on {service.state_dir}; seed {seed}")
            pause_s = settings.supervisor.max_seconds / max(1, settings.supervisor.max_restarts)
            return _run(drill._replace(pause_s=pause_s * 1.1))
        service = Service(folder / "state", [*options.set, *OWN_SETTINGS], options.config)
        console.print(f"no service runs, so the drill starts one of its own; seed {seed}")
        with service:
            return _run(drill._replace(service=service))


def _run(drill: _Drill) -> int:
    counted_before = drill.service.status()["plays"]["counted"]
    kills, manifest = _kill_under_load(drill, counted_before)
    status = _wait_caught_up(drill, counted_before + manifest["plays"])
    proof = _prove(drill.service, manifest)
    _show(kills, proof, status)
    return EXIT_FAILED if proof["lost"] or proof["doubled"] or proof["untold"] else EXIT_DONE


def _kill_under_load(drill: _Drill, counted_before: int) -> tuple[list[Kill], dict[str, Any]]:
    """Kill children while the producer publishes. Returns the kills, and the producer's manifest."""
    service, chance = drill.service, random.Random(drill.seed)
    manifest_file = drill.folder / "manifest.json"
    seconds = drill.kills * (max(drill.pause_s, sum(PAUSE_S) / 2) + 0.25) + 5
    producer = produce(
        service,
        *("--plays", str(int(seconds * PLAYS_PER_S)), "--rate", str(PLAYS_PER_S)),
        *("--seed", str(chance.randrange(2**31))),
        manifest=manifest_file,
    )
    done: list[Kill] = []
    try:
        wait_for(
            lambda: service.status()["plays"]["counted"] > counted_before, "the first play", 30, service.log
        )
        victims = [child["id"] for child in service.status()["children"]]
        for number in range(1, drill.kills + 1):
            victim = chance.choice(victims)
            done.append(_kill(service, victim))
            drill.console.print(_line(number, drill.kills, done[-1]))
            time.sleep(max(drill.pause_s, chance.uniform(*PAUSE_S)))
    finally:
        producer.send_signal(signal.SIGINT)  # the producer stops, and writes down what the queue acknowledged
        producer.wait()
    return done, json.loads(manifest_file.read_text(encoding="utf-8"))


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


def _kill(service: Service, child_id: str) -> Kill:
    """Kill a child, and wait until its next incarnation works."""
    before = wait_for(lambda: _running(service, child_id, 0), f"{child_id} to run", BACK_TIMEOUT_S)
    send_signal(before["pid"], signal.SIGKILL)
    after = wait_for(
        lambda: _running(service, child_id, before["incarnation"]),
        f"{child_id} to come back",
        BACK_TIMEOUT_S,
        service.log,
    )
    try:
        after = wait_for(lambda: _resumed(service, child_id), f"{child_id} to work", 2.0)
    except Failure:
        pass  # it had nothing to do: a counter without a play, a dispatcher without a batch
    return Kill(child_id, before["pid"], after["came_back_ms"] or 0.0, after["resumed_ms"])


def _running(service: Service, child_id: str, incarnation: int) -> dict[str, Any] | None:
    child = service.child(child_id)
    return child if child["state"] == "running" and child["incarnation"] > incarnation else None


def _resumed(service: Service, child_id: str) -> dict[str, Any] | None:
    child = service.child(child_id)
    return child if child["resumed_ms"] is not None else None


def _prove(service: Service, manifest: dict[str, Any]) -> dict[str, int]:
    """Compare the drill's videos in the ledgers and at the client with what the queue acknowledged."""
    result = service.command("totals", "--json")
    if result.returncode != 0:
        raise Failure(f"the ledgers cannot be read:\n{result.stderr}")
    ledgers, expected = json.loads(result.stdout), manifest["totals"]
    unknown = manifest.get("unacknowledged", {})  # sent without an answer: they may be counted or not
    told = service.totals() if "client_address" in (service.facts() or {}) else ledgers
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


def _line(number: int, kills: int, kill: Kill) -> str:
    works = f", works after {kill.resumed_ms:4.0f} ms" if kill.resumed_ms is not None else ""
    return f"{number:>4}/{kills}  killed {kill.child:<11} linked after {kill.came_back_ms:4.0f} ms{works}"


def _show(kills: list[Kill], proof: dict[str, int], status: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("child", "kills", "works again: median", "95th percentile", "slowest"):
        table.add_column(name, justify="left" if name == "child" else "right")
    for name in [*dict.fromkeys(kill.child for kill in kills), "all"]:
        chosen = [kill for kill in kills if name in (kill.child, "all")]
        times = sorted(kill.resumed_ms for kill in chosen if kill.resumed_ms is not None)
        row = [f"{_quantile(times, share):.0f} ms" if times else "" for share in (0.5, 0.95, 1.0)]
        table.add_row(name, str(len(chosen)), *row)
    console = Console(highlight=False)
    console.print(table)
    dropped = status["plays"]["redelivered"]
    console.print(
        f"\n{proof['plays']:,} plays acknowledged by the queue, {len(kills)} kills, "
        f"{dropped:,} redeliveries recognised"
    )
    if proof["unknown"]:
        console.print(
            f"{proof['unknown']:,} more plays had no answer from the queue; each may be counted or not"
        )
    broken = proof["lost"] or proof["doubled"] or proof["untold"]
    console.print(
        Text(
            f"lost {proof['lost']}, counted twice {proof['doubled']}, totals that the client does not have "
            f"{proof['untold']}",
            style="bold red" if broken else "bold green",
        )
    )


def _quantile(times: list[float], share: float) -> float:
    if share == 0.5:
        return statistics.median(times)
    return times[min(len(times) - 1, int(share * len(times)))]
