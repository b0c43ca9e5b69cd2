"""The service's own HTTP: /status, /metrics, /healthz. Figures are asked for fresh each time.

Owns how the children's figures become one picture; the supervisor owns the children.
"""

import time
from typing import Any

import tornado.web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from .core.messages import ConsumerFigures, CounterFigures, DispatcherFigures
from .supervision import State, Supervision

TRIGGERS = ("realtime", "deadline", "overdue", "drain")


def status(supervision: Supervision) -> dict[str, Any]:
    """What `status --json` prints, from the last figures of every child."""
    now_s = time.monotonic()
    children = list(supervision.children.values())
    figures = [child.figures for child in children if child.figures is not None]
    consumers = [one for one in figures if isinstance(one, ConsumerFigures)]
    counters = [one for one in figures if isinstance(one, CounterFigures)]
    dispatchers = [one for one in figures if isinstance(one, DispatcherFigures)]
    counted = sum(one.counted for one in counters)
    redelivered = sum(one.redelivered for one in counters)
    dead_lettered = sum(one.dead_lettered for one in counters)
    outstanding = sum(one.outstanding for one in consumers)
    pending = sum(one.pending_videos for one in counters)
    in_flight = sum(one.in_flight for one in dispatchers)
    by_trigger = {name: sum(getattr(one, name) for one in dispatchers) for name in TRIGGERS}
    heard_all = all(child.state is State.RUNNING and child.figures is not None for child in children)
    return {
        "supervisor": {
            "pid": supervision.pid,
            "uptime_s": round(now_s - supervision.started_s, 1),
            "strategy": supervision.settings.supervisor.strategy,
        },
        "children": [
            {
                "id": child.spec.id,
                "pid": child.process.pid if child.process else None,
                "state": str(child.state),
                "incarnation": child.incarnation,
                "restarts": max(0, child.incarnation - 1),
                "uptime_s": round(now_s - child.process.started_s, 1)
                if child.process and child.state is State.RUNNING
                else 0.0,
                "last_exit": str(child.last_exit) if child.last_exit else None,
            }
            for child in children
        ],
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
                for name in ("videos", "late", "failed")
            },
        },
        "videos": sum(one.videos for one in counters),
        "pending_videos": pending,
        "in_flight_messages": outstanding,
        "nsqd_connections": sum(one.connections for one in consumers),
        "addresses": supervision.addresses(),
        "caught_up": heard_all and not (outstanding or pending or in_flight),
    }


def metrics(status: dict[str, Any]) -> bytes:
    """The same as Prometheus text (exposition format 0.0.4)."""
    registry = CollectorRegistry()
    registry.register(_Collector(status))
    return generate_latest(registry)


def application(supervision: Supervision) -> tornado.web.Application:
    """The HTTP application."""
    arguments = {"supervision": supervision}
    return tornado.web.Application(
        [
            (r"/status", _Status, arguments),
            (r"/metrics", _Metrics, arguments),
            (r"/healthz", _Health, arguments),
        ],
        default_handler_class=_NotFound,
    )


class _Collector:
    def __init__(self, status: dict[str, Any]):
        self._status = status

    def collect(self):
        """Called by prometheus_client: every metric once."""
        status = self._status
        plays = CounterMetricFamily(
            "playtally_plays", "Messages by what became of them.", labels=["outcome"]
        )
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
            ("failed", "Attempts to publish that failed."),
        ):
            yield CounterMetricFamily(
                f"playtally_published_{name}", text, value=status["publishes"][name]
            )
        yield GaugeMetricFamily(
            "playtally_pending_videos", "Videos with unpublished plays.",
            value=status["pending_videos"],
        )
        yield GaugeMetricFamily(
            "playtally_in_flight_messages", "Messages received and not finished.",
            value=status["in_flight_messages"],
        )
        yield GaugeMetricFamily(
            "playtally_caught_up", "1 when nothing is in flight and all is published.",
            value=float(status["caught_up"]),
        )
        up = GaugeMetricFamily("playtally_child_up", "1 when the child runs.", labels=["child"])
        restarts = CounterMetricFamily(
            "playtally_child_restarts", "Restarts of the child.", labels=["child"]
        )
        for child in status["children"]:
            up.add_metric([child["id"]], float(child["state"] == "running"))
            restarts.add_metric([child["id"]], child["restarts"])
        yield up
        yield restarts


class _Handler(tornado.web.RequestHandler):
    def initialize(self, supervision: Supervision) -> None:
        self.supervision = supervision

    def set_default_headers(self) -> None:
        self.set_header("Server", "playtally")
        self.set_header("Cache-Control", "no-store")


class _Status(_Handler):
    async def get(self) -> None:
        await self.supervision.poll()
        self.write(status(self.supervision))


class _Metrics(_Handler):
    async def get(self) -> None:
        await self.supervision.poll()
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.write(metrics(status(self.supervision)))


class _Health(_Handler):
    async def get(self) -> None:
        children = self.supervision.children.values()
        down = [child.spec.id for child in children if child.state is not State.RUNNING]
        self.set_status(503 if down else 200)
        self.write({"healthy": not down, "down": down})


class _NotFound(tornado.web.RequestHandler):
    def prepare(self) -> None:
        self.set_status(404)
        self.finish({"error": f"no {self.request.path} here, expected /status, /metrics or /healthz"})
