"""Adds up the children's figures. `status --json` prints the sums, and `metrics.py` makes metrics of them."""

import time
from typing import Any, Protocol

from ..config import Settings, has_token
from ..core import guids
from ..core.stats import (
    ConsumerStats,
    CounterStats,
    DispatcherStats,
    RefusedVideoStats,
    Stats,
    decode,
)
from ..core.triggers import Trigger
from ..supervision import log_writer
from ..supervision.application import Application
from ..supervision.states import State
from ..supervision.supervisor import Supervisor
from ..supervision.worker import Worker
from . import health
from .action_log import ActionLog
from .details import details, last_exit, restarts
from .disks import Disk, disks
from .figures import Figures
from .history import History
from .live import Live
from .progress import Look, NsqdLook, why_not_caught_up
from .queue_look import Looks
from .reloading import Reloaded
from .resources import Resources
from .running_changes import RunningChanges
from .store_sizes import store_bytes


class ServiceView(Protocol):
    """The parts of a service that are shown. `asked_for`: the children that the settings ask for, by id.
    `secret`: what a request that changes something must know. `changes`: what holds until the next start.
    """

    application: Application[Settings]
    asked_for: list[str]
    figures: Figures
    history: History
    live: Live
    looks: Looks
    pid: int
    resources: Resources
    started_s: float
    secret: str
    actions: ActionLog
    changes: RunningChanges

    def addresses(self) -> dict[str, str]:
        """Return the "host:port" of each part that listens."""

    def reload(self, who: str) -> Reloaded:
        """Have the children read their files again. `who`: asks for it, for the log."""


def status(service: ServiceView, look: Look) -> dict[str, Any]:
    """Return what `status --json` prints. A child that did not answer is shown with its last figures."""
    application = service.application
    workers = application.workers()
    stats = service.figures.shown(_told(workers, look))
    consumers = [one for one in stats if isinstance(one, ConsumerStats)]
    counters = [one for one in stats if isinstance(one, CounterStats)]
    dispatchers = [one for one in stats if isinstance(one, DispatcherStats)]
    outstanding = sum(one.outstanding for one in consumers)
    why_not, unhealthy = why_not_caught_up(look, service.changes.paused), health.reasons(service)
    own = application.options.admin
    stored = store_bytes(application.options.supervisor.state_dir)
    return {
        "supervisor": {
            "pid": service.pid,
            "uptime_s": round(time.monotonic() - service.started_s, 1),
            "strategy": application.options.supervisor.strategy,
            **service.resources.of("supervisor", service.pid),
        },
        "supervisors": [_supervisor(one) for one in application.root.supervisors()],
        "children": [_child(worker, stored.get(worker.spec.id, 0), service.resources) for worker in workers],
        "plays": {
            **_plays(counters, outstanding),
            # The age of the oldest play when the consumer received it, counted from NSQ's stamp.
            "oldest_age_ms": max((one.oldest_age_ms for one in consumers), default=0),
        },
        # By reason, since the service was started.
        "dead_letters": service.figures.dead_letters,
        "restarts": restarts(application.restarts),
        "publishes": _publishes(dispatchers),
        # There is one dispatcher; the circuit is None until the dispatcher has reported.
        "client": {
            "circuit": next((one.circuit for one in dispatchers), None),
            "failures_in_a_row": sum(one.failures for one in dispatchers),
            # Publishes that are sent and not answered, and what limits them: as set while it runs, or as set.
            "in_flight": sum(one.unanswered for one in dispatchers),
            "in_flight_max": _in_force(service, "in_flight_max"),
            "rate_max_per_s": _in_force(service, "rate_max_per_s"),
        },
        # The widest batch that the client takes, learned from a 413; 0 if it takes any.
        "videos_per_batch_max": sum(one.width for one in dispatchers),
        # Questions that the counters did not answer in time, since the dispatcher began: see `Collect`.
        "collects_expired": sum(one.expired for one in dispatchers),
        "refused_videos": [_refused(one) for each in dispatchers for one in each.refused_videos],
        # All of them; the list has the first ones.
        "refused_videos_total": sum(one.refused for one in dispatchers),
        "videos": sum(one.videos for one in counters),
        "pending_videos": sum(one.pending_videos for one in counters),
        "in_flight_messages": outstanding,
        "disks": [_disk(one) for one in disks(application.options)],
        "log_lines_dropped": log_writer.lines_dropped() + sum(worker.log_lines_dropped for worker in workers),
        **details(stats, service.figures.by_child, stored, application.options.dispatch.deadline_s),
        "nsqd_connections": look.connections,
        "nsq": {
            "connections": look.connections,
            "depth": look.depth,
            "others_on_channel": look.others,
            # Reads since the service was started, and those of them that left fewer in flight than RDY:
            # nsqd's ticker flushed their messages, so they may have waited for it.
            "reads": service.figures.reads,
            "reads_by_ticker": service.figures.reads_by_ticker,
            "nsqds": [_nsqd(one) for one in look.nsqds],
        },
        # What somebody paused, and what was set, by the setting, until the next start.
        "paused": dict(service.changes.paused),
        "set_while_running": dict(service.changes.values),
        # Whether who has the token may act, and not only the commands of this machine.
        "actions_allowed": own.actions and has_token(own),
        "addresses": service.addresses(),
        "healthy": not unhealthy,
        "why_not_healthy": unhealthy,
        "caught_up": not why_not,
        "caught_up_is": "queue" if look.knows_queue else "service",
        "why_not_caught_up": why_not,
    }


def _in_force(service: ServiceView, key: str) -> Any:
    """A setting of [publish] as it is in force."""
    own = getattr(service.application.options.publish, key)
    return service.changes.values.get(f"publish.{key}", own)


def _told(workers: list[Worker], look: Look) -> dict[str, tuple[int, Stats]]:
    """By child, its incarnation, and what it told in this look, or else before."""
    last = {worker.spec.id: decode(worker.stats) for worker in workers if worker.stats}
    incarnations = {worker.spec.id: worker.incarnation for worker in workers}
    return {child: (incarnations.get(child, 0), stats) for child, stats in (last | look.heard).items()}


def _nsqd(look: NsqdLook) -> dict[str, Any]:
    nsqd = look.nsqd
    return {
        "address": nsqd.address,
        "http_address": nsqd.http_address,
        # An HTTP address of nsq.nsqd_http_addresses that is another nsqd's, so it is not asked.
        "wrong_http_address": nsqd.wrong_http or None,
        "connected": nsqd.connected,
        # By what its messages are known beside its address: "node id", "node id and host name", or "address"
        # alone. Only the first two survive a change of address. What it told, or its messages did, of both:
        "identity": nsqd.identity,
        "node_id": nsqd.node_id,
        "hostname": nsqd.host or None,
        "rdy": nsqd.ready_count,
        "in_flight": nsqd.in_flight,
        "depth": look.depth,
        # How old the message last received was when it came. nsqd tells no age of messages that wait.
        "last_age_ms": nsqd.last_age_ms,
        # Of our channel: all messages since that nsqd started, and those of them that are not finished.
        "messages": None if look.queue is None else look.queue.messages,
        "unfinished": None if look.queue is None else look.queue.unfinished,
        "started_s": None if look.queue is None else look.queue.started_s,
    }


def _plays(counters: list[CounterStats], outstanding: int) -> dict[str, int]:
    counted = sum(one.counted for one in counters)
    redelivered = sum(one.redelivered for one in counters)
    dead_lettered = sum(one.dead_lettered for one in counters)
    duplicates = sum(one.duplicates for one in counters)
    return {
        # Each received message is counted in exactly one of these five summands. A restart does not change
        # the sum: the ledgers store the first four, and then nsqd delivers the `outstanding` messages again.
        "received": counted + redelivered + duplicates + dead_lettered + outstanding,
        "counted": counted,
        "redelivered": redelivered,
        # With nsq.play_id: other messages with the play of a message that was counted.
        "duplicates": duplicates,
        "dead_lettered": dead_lettered,
        # New messages that have the id of an earlier message, because an nsqd's clock was set back before its
        # restart. `counted` and `dead_lettered` include these messages.
        "reused_ids": sum(one.reused for one in counters),
    }


def _publishes(dispatchers: list[DispatcherStats]) -> dict[str, int]:
    by_trigger = {str(name): sum(getattr(one, name) for one in dispatchers) for name in Trigger}
    others = ("videos", "late", "late_by_client", "failed", "rejected")
    return {
        "total": sum(by_trigger.values()),
        **by_trigger,
        **{name: sum(getattr(one, name) for one in dispatchers) for name in others},
    }


def _refused(one: RefusedVideoStats) -> dict[str, Any]:
    return {
        "video_id": guids.text(one.video),
        "plays": one.plays,
        "answer": one.answer,
        "attempts": one.attempts,
        "next_attempt_s": one.next_attempt_ms / 1000,
    }


def _disk(one: Disk) -> dict[str, Any]:
    return {
        "place": one.place,
        "path": one.path,
        "bytes": one.total_bytes,
        "free_bytes": one.free_bytes,
        "full": round(one.full, 3),
        "nearly_full": one.nearly_full,
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


def _child(worker: Worker, stored: int, resources: Resources) -> dict[str, Any]:
    process = None if worker.state is State.STOPPED else worker.process
    return {
        "id": worker.spec.id,
        "pid": process.pid if process else None,
        "state": str(worker.state),
        "loading": worker.how_far or None,
        "incarnation": worker.incarnation,
        "restarts": max(0, worker.incarnation - 1),
        "uptime_s": round(time.monotonic() - process.started_s, 1) if process else 0.0,
        "last_exit": last_exit(worker, time.time()),
        "came_back_ms": _rounded(worker.came_back_ms),
        "resumed_ms": _rounded(worker.resumed_ms),
        "mailbox_bytes": worker.mailbox_bytes,
        "store_bytes": stored,
        **resources.of(worker.spec.id, process.pid if process else None),
    }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)
