"""A drill: kill children at random under load, and prove that no play was lost or counted twice.

On the service that runs, or on one of its own. The load is the drill's own: videos that nobody else
plays, so that what it produced can be told from everything else. Kills are SIGKILL, from outside, as
anybody can send them.
"""

import argparse
import json
import random
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

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
    """One kill: whom, and the time until it was linked and until it worked again."""

    child: str
    pid: int
    came_back_ms: float
    resumed_ms: float | None


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the drill, print every kill and the proof. 0 when no play was lost or counted twice."""
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="playtally-drill-") as folder:
        service = Service(Path(settings.supervisor.state_dir), options.set, options.config)
        if service.facts() is not None:
            console.print(f"on the service that runs on {service.state_dir}; seed {seed}")
            pause_s = settings.supervisor.max_seconds / max(1, settings.supervisor.max_restarts)
            return _drill(service, settings, Path(folder), options.kills, seed, pause_s * 1.1, console)
        service = Service(Path(folder) / "state", [*options.set, *OWN_SETTINGS], options.config)
        console.print(f"no service runs, so on one of its own; seed {seed}")
        with service:
            return _drill(service, settings, Path(folder), options.kills, seed, 0.0, console)


def _drill(
    service: Service,
    settings: Settings,
    folder: Path,
    kills: int,
    seed: int,
    pause_s: float,
    console: Console,
) -> int:
    chance = random.Random(seed)
    counted_before = service.status()["plays"]["counted"]
    manifest_file = folder / "manifest.json"
    seconds = kills * (max(pause_s, sum(PAUSE_S) / 2) + 0.25) + 5
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
        for number in range(1, kills + 1):
            victim = chance.choice(victims)
            done.append(_kill(service, victim))
            console.print(_line(number, kills, done[-1]))
            time.sleep(max(pause_s, chance.uniform(*PAUSE_S)))
    finally:
        producer.send_signal(signal.SIGINT)  # it stops, and says what the queue has acknowledged
        producer.wait()
    manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
    unknown = manifest.get("unacknowledged", {})
    patience_s = settings.dispatch.deadline_s + settings.nsq.msg_timeout_s + 60
    try:
        status = wait_for(
            lambda: _caught_up(service, counted_before, manifest["plays"]),
            "the service to catch up",
            patience_s,
            service.log,
        )
    except Failure:
        status = service.status()
        if not status["caught_up"]:
            raise
        # Else nothing more comes, and the proof says what is missing.
    proof = _prove(service, manifest, unknown)
    _show(done, proof, status)
    return EXIT_FAILED if proof["lost"] or proof["doubled"] or proof["untold"] else EXIT_DONE


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


def _caught_up(service: Service, counted_before: int, acknowledged: int) -> dict[str, Any] | None:
    # What still waits on the queue is nothing that the service knows of: it looks as if it had caught up.
    status = service.status()
    counted = status["plays"]["counted"] - counted_before
    return status if status["caught_up"] and counted >= acknowledged else None


def _prove(service: Service, manifest: dict[str, Any], unknown: dict[str, int]) -> dict[str, int]:
    """What the ledgers and the client have of the drill's videos, against what the queue acknowledged.

    What the producer sent and got no answer for may count or not: it was acknowledged to nobody.
    """
    result = service.command("totals", "--json")
    if result.returncode != 0:
        raise Failure(f"the ledgers cannot be read:\n{result.stderr}")
    ledgers, expected = json.loads(result.stdout), manifest["totals"]
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
        console.print(f"{proof['unknown']:,} more had no answer when the queue was killed, and count or not")
    broken = proof["lost"] or proof["doubled"] or proof["untold"]
    console.print(
        Text(
            f"lost {proof['lost']}, counted twice {proof['doubled']}, totals that the client does not have "
            f"{proof['untold']}",
            style="bold red" if broken else "bold green",
        )
    )


def _quantile(times: list[float], share: float) -> float:
    if len(times) == 1 or share == 1.0:
        return times[-1]
    if share == 0.5:
        return statistics.median(times)
    return times[min(len(times) - 1, int(share * len(times)))]
