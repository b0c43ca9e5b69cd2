"""The children's stats as one picture: what `status --json` prints, and the same for Prometheus.

Owns how the stats add up; knows nothing of how they were asked for. Memory and CPU come from psutil,
because /proc is Linux only.
"""

import time
from collections.abc import Iterator
from typing import Any, Protocol

import psutil
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ..config import Settings
from ..core.dispatcher.attempts import Circuit
from ..core.stats import ConsumerStats, CounterStats, DispatcherStats, decode
from ..supervision.application import Application
from ..supervision.supervisor import Supervisor
from ..supervision.worker import State, Worker

TRIGGERS = ("realtime", "deadline", "overdue", "drain")


class Service(Protocol):
    """What is shown."""

    application: Application[Settings]
    pid: int
    started_s: float

    def addresses(self) -> dict[str, str]:
        """Where its parts are reached."""


def status(service: Service) -> dict[str, Any]:
    """What `status --json` prints, from the last stats of every child."""
    application = service.application
    workers = application.workers()
    stats = [decode(worker.stats) for worker in workers if worker.stats]
    consumers = [one for one in stats if isinstance(one, ConsumerStats)]
    counters = [one for one in stats if isinstance(one, CounterStats)]
    dispatchers = [one for one in stats if isinstance(one, DispatcherStats)]
    counted = sum(one.counted for one in counters)
    redelivered = sum(one.redelivered for one in counters)
    dead_lettered = sum(one.dead_lettered for one in counters)
    outstanding = sum(one.outstanding for one in consumers)
    pending = sum(one.pending_videos for one in counters)
    in_flight = sum(one.in_flight for one in dispatchers)
    by_trigger = {name: sum(getattr(one, name) for one in dispatchers) for name in TRIGGERS}
    # A service that only serves an address is not asked for stats: that it runs is enough.
    heard_all = all(worker.state is State.RUNNING for worker in workers) and (
        len(counters) == application.options.counters.shards and consumers and dispatchers
    )
    return {
        "supervisor": {
            "pid": service.pid,
            "uptime_s": round(time.monotonic() - service.started_s, 1),
            "strategy": application.options.supervisor.strategy,
            **_resources(service.pid),
        },
        "supervisors": [_supervisor(one) for one in application.root.supervisors()],
        "children": [_child(worker) for worker in workers],
        "plays": {
            # Every message received is one of these: so it is their sum, through restarts too.
            "received": counted + redelivered + dead_lettered + outstanding,
            "counted": counted,
            "redelivered": redelivered,
            "dead_lettered": dead_lettered,
        },
        "publishes": {
            "total": sum(by_trigger.values()),
            **by_trigger,
            **{
                name: sum(getattr(one, name) for one in dispatchers)
                for name in ("videos", "late", "late_by_client", "failed", "rejected")
            },
        },
        # One dispatcher; None until it has said something.
        "client": {
            "circuit": next((one.circuit for one in dispatchers), None),
            "failures_in_a_row": sum(one.failures for one in dispatchers),
        },
        "videos": sum(one.videos for one in counters),
        "pending_videos": pending,
        "in_flight_messages": outstanding,
        "nsqd_connections": sum(one.connections for one in consumers),
        "addresses": service.addresses(),
        "caught_up": bool(heard_all) and not (outstanding or pending or in_flight),
    }


def _supervisor(supervisor: Supervisor) -> dict[str, Any]:
    spec = supervisor.spec.supervisor
    assert spec is not None
    return {
        "id": supervisor.spec.id,
        "state": str(supervisor.state),
        "strategy": str(spec.strategy),
        "max_restarts": spec.max_restarts,
        "max_seconds": spec.max_ms / 1000,
        "restarts": supervisor.restarts,
        "children": [child.spec.id for child in supervisor.which_children()],
        "count": supervisor.count_children(),
    }


def _child(worker: Worker) -> dict[str, Any]:
    runs = worker.process is not None and worker.state is not State.STOPPED
    return {
        "id": worker.spec.id,
        "pid": worker.process.pid if worker.process and runs else None,
        "state": str(worker.state),
        "incarnation": worker.incarnation,
        "restarts": max(0, worker.incarnation - 1),
        "uptime_s": round(time.monotonic() - worker.process.started_s, 1) if worker.process and runs else 0.0,
        "last_exit": str(worker.last_exit) if worker.last_exit else None,
        "came_back_ms": _rounded(worker.came_back_ms),
        "resumed_ms": _rounded(worker.resumed_ms),
        "mailbox_bytes": worker.mailbox_bytes,
        **_resources(worker.process.pid if worker.process and runs else None),
    }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)


def _resources(pid: int | None) -> dict[str, Any]:
    """Resident memory, and CPU seconds used, of a process."""
    try:
        process = psutil.Process(pid) if pid is not None else None
        if process is not None:
            times = process.cpu_times()
            return {"memory_bytes": process.memory_info().rss, "cpu_s": round(times.user + times.system, 2)}
    except psutil.Error:
        pass  # it has just ended
    return {"memory_bytes": 0, "cpu_s": 0.0}


def metrics(status: dict[str, Any]) -> bytes:
    """The same as Prometheus text (exposition format 0.0.4)."""
    registry = CollectorRegistry()
    registry.register(_Collector(status))
    return generate_latest(registry)


class _Collector:
    def __init__(self, status: dict[str, Any]):
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Called by prometheus_client: every metric once."""
        status = self._status
        plays = CounterMetricFamily("playtally_plays", "Messages by what became of them.", labels=["outcome"])
        for outcome in ("counted", "redelivered", "dead_lettered"):
            plays.add_metric([outcome], status["plays"][outcome])
        yield plays
        publishes = CounterMetricFamily(
            "playtally_publishes", "Publishes that the client accepted.", labels=["trigger"]
        )
        for trigger in TRIGGERS:
            publishes.add_metric([trigger], status["publishes"][trigger])
        yield publishes
        for name, text in (
            ("videos", "Videos in accepted publishes."),
            ("late", "Videos published after their deadline."),
            ("late_by_client", "Those of them that were late because the client was slow or failing."),
            ("failed", "Attempts to publish that failed."),
            ("rejected", "Those of them that the client called wrong: 4xx but for 408, 425 and 429."),
        ):
            yield CounterMetricFamily(f"playtally_published_{name}", text, value=status["publishes"][name])
        yield GaugeMetricFamily(
            "playtally_client_failures_in_a_row",
            "Attempts that failed since the last that did not.",
            value=status["client"]["failures_in_a_row"],
        )
        circuit = GaugeMetricFamily(
            "playtally_client_circuit", "1 for the state that the circuit is in.", labels=["state"]
        )
        for state in Circuit:
            circuit.add_metric([state], float(status["client"]["circuit"] == state))
        yield circuit
        yield GaugeMetricFamily(
            "playtally_pending_videos",
            "Videos with unpublished plays.",
            value=status["pending_videos"],
        )
        yield GaugeMetricFamily(
            "playtally_in_flight_messages",
            "Messages received and not finished.",
            value=status["in_flight_messages"],
        )
        yield GaugeMetricFamily(
            "playtally_caught_up",
            "1 when nothing is in flight and all is published.",
            value=float(status["caught_up"]),
        )
        up = GaugeMetricFamily("playtally_child_up", "1 when the child runs.", labels=["child"])
        restarts = CounterMetricFamily("playtally_child_restarts", "Restarts of the child.", labels=["child"])
        for child in status["children"]:
            up.add_metric([child["id"]], float(child["state"] == "running"))
            restarts.add_metric([child["id"]], child["restarts"])
        yield up
        yield restarts
