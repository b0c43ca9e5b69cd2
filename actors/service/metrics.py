"""The status as Prometheus text (exposition format 0.0.4)."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from ..core.dispatcher.attempts import Circuit
from ..core.triggers import Trigger

HISTOGRAMS = (
    (
        "realtime_latency_s",
        "realtime_latency_seconds",
        "Of videos published on receipt: from a play's arrival on the queue until the client had the total.",
    ),
    (
        "deadline_slack_s",
        "deadline_slack_seconds",
        "What was left until the deadline when the client had the total; 0 for a late one.",
    ),
    (
        "publish_duration_s",
        "publish_duration_seconds",
        "From when an attempt to publish left until its answer, or until there was none.",
    ),
    ("commit_duration_s", "commit_duration_seconds", "Commits of the counters to their ledgers."),
    ("batch_width", "publish_videos", "Videos in each publish that the client accepted."),
)
NOT_PAUSED = {"consuming": False, "publishing": False}


def metrics(status: dict[str, Any]) -> bytes:
    """Return the metrics of a status, as `status.status` returns it."""
    registry = CollectorRegistry()
    registry.register(_Collector(status))
    return generate_latest(registry)


class _Collector:
    def __init__(self, status: dict[str, Any]):
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield every metric once; called by prometheus_client."""
        yield from _service(self._status)
        yield from _plays(self._status["plays"])
        yield _dead_letters(self._status["dead_letters"])
        yield GaugeMetricFamily(
            "playtally_oldest_play_age_seconds",
            "How old the oldest play of the last minute was when it was received.",
            value=self._status["plays"]["oldest_age_ms"] / 1000,
        )
        yield from _publishes(self._status["publishes"])
        yield _answers(self._status["answers"])
        yield from _histograms(self._status["histograms"])
        yield from _client(self._status["client"])
        yield GaugeMetricFamily(
            "playtally_refused_videos",
            "Videos that the client refuses, each alone.",
            value=self._status["refused_videos_total"],
        )
        yield from _progress(self._status)
        yield _pending(self._status["pending_by_deadline"])
        yield from _nsq(self._status["nsq"])
        yield from _children(self._status["children"])
        yield from _resources({"id": "supervisor", **self._status["supervisor"]}, *self._status["children"])
        yield from _stores(self._status["stores"])
        yield from _disks(self._status["disks"])
        yield CounterMetricFamily(
            "playtally_log_lines_dropped",
            "Log lines dropped because stderr could not be written.",
            value=self._status["log_lines_dropped"],
        )


def _service(status: dict[str, Any]) -> Iterator[Metric]:
    for name, text, value in (
        ("healthy", "1 when every child that is asked for runs and an nsqd is connected.", status["healthy"]),
        ("uptime_seconds", "How long the service runs.", status["supervisor"]["uptime_s"]),
    ):
        yield GaugeMetricFamily(f"playtally_{name}", text, value=float(value))
    paused = GaugeMetricFamily("playtally_paused", "1 for what an operator has paused.", labels=["what"])
    for what, is_paused in status.get("paused", NOT_PAUSED).items():
        paused.add_metric([what], float(is_paused))
    yield paused


def _plays(plays: dict[str, int]) -> Iterator[Metric]:
    metric = CounterMetricFamily("playtally_plays", "Messages by outcome.", labels=["outcome"])
    for outcome in ("counted", "redelivered", "duplicates", "dead_lettered"):
        metric.add_metric([outcome], plays[outcome])
    yield metric
    yield CounterMetricFamily(
        "playtally_reused_ids",
        "Messages whose id came before with another stamp: an nsqd's clock was set back.",
        value=plays["reused_ids"],
    )


def _dead_letters(by_reason: dict[str, int]) -> Metric:
    metric = CounterMetricFamily(
        "playtally_dead_letters",
        "Messages moved to the topic of dead letters since the start of the service.",
        labels=["reason"],
    )
    for why, letters in by_reason.items():
        metric.add_metric([why], letters)
    return metric


def _answers(answers: list[dict[str, Any]]) -> Metric:
    metric = CounterMetricFamily(
        "playtally_publish_answers",
        "Attempts to publish, by what the client answered, since the start of the service.",
        labels=["status"],
    )
    for one in answers:
        metric.add_metric([one["status"]], one["count"])
    return metric


def _histograms(histograms: dict[str, dict[str, Any]]) -> Iterator[Metric]:
    for key, name, text in HISTOGRAMS:
        found = histograms[key]
        bounds = [*(f"{bound:g}" for bound in found["le"]), "+Inf"]
        buckets = list(zip(bounds, accumulate(found["counts"]), strict=True))
        metric = HistogramMetricFamily(f"playtally_{name}", text)
        metric.add_metric([], buckets, sum_value=found["sum"])
        yield metric


def _pending(pending: list[dict[str, Any]]) -> Metric:
    metric = GaugeMetricFamily(
        "playtally_pending_due_videos",
        "Videos in no batch, by when they are due, each counted once: in how many seconds at the latest.",
        labels=["within_seconds"],
    )
    for one in pending:
        metric.add_metric([f"{one['within_s']:g}"], one["videos"])
    return metric


def _publishes(publishes: dict[str, int]) -> Iterator[Metric]:
    accepted = CounterMetricFamily(
        "playtally_publishes", "Publishes that the client accepted.", labels=["trigger"]
    )
    for trigger in Trigger:
        accepted.add_metric([trigger], publishes[trigger])
    yield accepted
    for name, text in (
        ("videos", "Videos in accepted publishes."),
        (
            "late",
            "Videos published late: after their deadline, or held for as long as a deadline after receipt.",
        ),
        ("late_by_client", "Videos published late because the client was slow or failing."),
        ("failed", "Attempts to publish that failed."),
        ("rejected", "Attempts that the client refused as wrong: 4xx other than 408, 425 and 429."),
    ):
        yield CounterMetricFamily(f"playtally_published_{name}", text, value=publishes[name])


def _client(client: dict[str, Any]) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "playtally_client_failures_in_a_row",
        "Attempts that failed since the last success.",
        value=client["failures_in_a_row"],
    )
    circuit = GaugeMetricFamily(
        "playtally_client_circuit", "1 for the present state of the circuit, 0 for others.", labels=["state"]
    )
    for state in Circuit:
        circuit.add_metric([state], float(client["circuit"] == state))
    yield circuit


def _progress(status: dict[str, Any]) -> Iterator[Metric]:
    for name, text in (
        ("videos", "Videos that were ever played."),
        ("pending_videos", "Videos with unpublished plays."),
        ("in_flight_messages", "Messages received and not finished."),
        ("caught_up", "1 when nothing waits on the queue or is in flight, and all is published."),
    ):
        yield GaugeMetricFamily(f"playtally_{name}", text, value=float(status[name]))
    judge = GaugeMetricFamily(
        "playtally_caught_up_is",
        "1 for what caught_up is judged by: the queue too, or the service alone.",
        labels=["judge"],
    )
    for name in ("queue", "service"):
        judge.add_metric([name], float(status["caught_up_is"] == name))
    yield judge


def _nsq(nsq: dict[str, Any]) -> Iterator[Metric]:
    for name, text in (
        ("connections", "Connections to nsqds."),
        ("depth", "Messages that wait on the topic and the channel; absent while no nsqd says so."),
        ("others_on_channel", "Consumers on the channel that are not this service's."),
    ):
        if nsq[name] is not None:
            yield GaugeMetricFamily(f"playtally_nsq_{name}", text, value=nsq[name])
    for name, text in (
        ("reads", "Reads from nsqds with messages, since the service was started."),
        ("reads_by_ticker", "Those that left fewer in flight than RDY: they may have waited for a ticker."),
    ):
        yield CounterMetricFamily(f"playtally_nsq_{name}", text, value=nsq[name])
    for name, text in (
        ("connected", "1 when there is a connection to the nsqd."),
        ("rdy", "How many messages the nsqd may have in flight to this service."),
        ("in_flight", "Messages of the nsqd that were received and not finished."),
        ("depth", "Messages that wait on the nsqd; absent while the nsqd does not say so."),
    ):
        metric = GaugeMetricFamily(f"playtally_nsqd_{name}", text, labels=["nsqd"])
        for one in nsq["nsqds"]:
            if one[name] is not None:
                metric.add_metric([one["address"]], float(one[name]))
        yield metric
    age = GaugeMetricFamily(
        "playtally_nsqd_last_age_seconds",
        "How old the message last received from the nsqd was when it came; absent before the first.",
        labels=["nsqd"],
    )
    for one in nsq["nsqds"]:
        if one["last_age_ms"] is not None:
            age.add_metric([one["address"]], one["last_age_ms"] / 1000)
    yield age


def _children(children: list[dict[str, Any]]) -> Iterator[Metric]:
    up = GaugeMetricFamily("playtally_child_up", "1 when the child runs.", labels=["child"])
    restarts = CounterMetricFamily("playtally_child_restarts", "Restarts of the child.", labels=["child"])
    stored = GaugeMetricFamily(
        "playtally_store_bytes", "Bytes of the child's store, with its -wal.", labels=["child"]
    )
    for child in children:
        up.add_metric([child["id"]], float(child["state"] == "running"))
        restarts.add_metric([child["id"]], child["restarts"])
        if child["store_bytes"]:
            stored.add_metric([child["id"]], child["store_bytes"])
    yield up
    yield restarts
    yield stored


def _resources(*processes: dict[str, Any]) -> Iterator[Metric]:
    """Return what each process uses, by child; the supervisor is one of them."""
    memory = GaugeMetricFamily(
        "playtally_child_memory_bytes", "Resident memory of the process.", labels=["child"]
    )
    cpu = CounterMetricFamily(
        "playtally_child_cpu_seconds", "CPU time of the child in all its lives.", labels=["child"]
    )
    mailbox = GaugeMetricFamily(
        "playtally_child_mailbox_bytes", "Bytes that wait in the child's mailbox.", labels=["child"]
    )
    for one in processes:
        memory.add_metric([one["id"]], one["memory_bytes"])
        cpu.add_metric([one["id"]], one["cpu_total_s"])
        if "mailbox_bytes" in one:
            mailbox.add_metric([one["id"]], one["mailbox_bytes"])
    yield from (memory, cpu, mailbox)


def _stores(stores: list[dict[str, Any]]) -> Iterator[Metric]:
    commits = CounterMetricFamily("playtally_store_commits", "Commits of the ledger.", labels=["child"])
    seen = GaugeMetricFamily(
        "playtally_store_seen_ids", "Message ids that the ledger knows.", labels=["child"]
    )
    for one in stores:
        commits.add_metric([one["child"]], one["commits"])
        seen.add_metric([one["child"]], one["seen_ids"])
    yield from (commits, seen)


def _disks(disks: list[dict[str, Any]]) -> Iterator[Metric]:
    for name, text in (
        ("bytes", "Size of the disk that has the state, or a file that the service writes."),
        ("free_bytes", "What may still be written on that disk."),
    ):
        metric = GaugeMetricFamily(f"playtally_disk_{name}", text, labels=["place"])
        for one in disks:
            metric.add_metric([one["place"]], one[name])
        yield metric
