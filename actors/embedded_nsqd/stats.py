"""The answer to GET /stats: the fields of nsqd/stats.go and nsqd/http.go, as JSON and as text.

Reads everything, changes nothing. There are no end-to-end latency percentiles, as in an nsqd without
--e2e-processing-latency-percentile. The fields are in nsqd's order.
"""

import gc
import resource
import sys
import time
from typing import Any

from ..supervision.printable import printable
from .channel import Channel
from .edge import ConnectedClient, Edge
from .identify import VERSION
from .subscriber import Subscriber
from .topic import Topic

_NOT_SUBSCRIBED = Subscriber(0)  # its counts are 0

_NO_LATENCY = {"count": 0, "percentiles": None}  # nsqadmin and nsq_stat read what is in it

_NO_TLS = {
    "tls": False,
    "tls_cipher_suite": "",
    "tls_version": "",
    "tls_negotiated_protocol": "",
    "tls_negotiated_protocol_is_mutual": False,
}


def stats_of(
    edge: Edge,
    topic: str = "",
    channel: str = "",
    include_clients: bool = True,
    include_memory: bool = True,
) -> dict[str, Any]:
    """All figures, or those of one topic and channel; "" stands for all. Lists are null where nsqd's are."""
    topics = [edge.queue.topics[name] for name in sorted(edge.queue.topics) if topic in ("", name)]
    subscribed = edge.subscribed if include_clients else None
    answer: dict[str, Any] = {
        "version": VERSION,
        "health": edge.health,
        "start_time": edge.start_s,
        "topics": [
            _topic_stats(each, channel, topic, subscribed)
            for each in topics
            if not channel or channel in each.channels
        ],
    }
    if topic and not topics:
        answer["topics"] = None
    if include_memory:
        answer["memory"] = _memory_stats()
    producers = [
        _client_stats(connection, topic)
        for connection in sorted(edge.connections, key=lambda each: each.remote_address)
        if connection.publish_counts
    ]
    answer["producers"] = producers if producers and include_clients else None
    return answer


def stats_text(stats: dict[str, Any]) -> str:
    """Format the result of `stats_of` as text in nsqd's layout."""
    now_s = int(time.time())
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(stats["start_time"]))
    lines = [
        f"nsqd v{VERSION} (embedded in playtally)",
        f"start_time {started}",
        f"uptime {now_s - stats['start_time']}s",
        "",
        f"Health: {stats['health']}",
    ]
    if "memory" in stats:
        lines += ["", "Memory:"]
        lines += [f"   {name:<25}\t{value}" for name, value in stats["memory"].items()]
    lines += ["", "Topics:" if stats["topics"] else "Topics: None"]
    for topic in stats["topics"] or ():
        lines += _topic_lines(topic, now_s)
    lines += ["", "Producers:" if stats["producers"] else "Producers: None"]
    lines += [f"   {_client_line(client, now_s)}" for client in stats["producers"] or ()]
    return "".join(printable(line, kept="\t") + "\n" for line in lines)  # a client names itself


def _topic_stats(
    topic: Topic, channel: str, only_topic: str, subscribed: dict[Subscriber, ConnectedClient] | None
) -> dict[str, Any]:
    channels = [topic.channels[name] for name in sorted(topic.channels) if channel in ("", name)]
    return {
        "topic_name": topic.name,
        "channels": [_channel_stats(each, only_topic, subscribed) for each in channels],
        "depth": topic.waiting_count,
        "backend_depth": 0 if topic.is_ephemeral else topic.waiting_count,
        "message_count": topic.message_count,
        "message_bytes": topic.message_bytes,
        "paused": topic.is_paused,
        "e2e_processing_latency": _NO_LATENCY,
    }


def _channel_stats(
    channel: Channel, only_topic: str, subscribed: dict[Subscriber, ConnectedClient] | None
) -> dict[str, Any]:
    clients = None
    if subscribed is not None:
        clients = [_client_stats(subscribed[each], only_topic) for each in channel.subscribers]
    return {
        "channel_name": channel.name,
        "depth": channel.depth,
        "backend_depth": channel.unread,
        "in_flight_count": channel.in_flight_count,
        "deferred_count": channel.deferred_count,
        "message_count": channel.message_count,
        "requeue_count": channel.requeue_count,
        "timeout_count": channel.timeout_count,
        "client_count": len(channel.subscribers),
        "clients": clients,
        "paused": channel.is_paused,
        "e2e_processing_latency": _NO_LATENCY,
    }


def _client_stats(client: ConnectedClient, only_topic: str) -> dict[str, Any]:
    agreement = client.agreement
    subscriber = _NOT_SUBSCRIBED if client.subscription is None else client.subscription.subscriber
    stats: dict[str, Any] = {
        "client_id": agreement.client_id,
        "hostname": agreement.hostname,
        "version": "V2",
        "remote_address": client.remote_address,
        "state": int(client.state),
        "ready_count": subscriber.ready_count,
        "in_flight_count": len(subscriber.in_flight),
        "message_count": subscriber.message_count,
        "finish_count": subscriber.finish_count,
        "requeue_count": subscriber.requeue_count,
        "connect_ts": client.connect_s,
        "sample_rate": agreement.sample_rate,
        "deflate": False,
        "snappy": False,
        "user_agent": agreement.user_agent,
    }
    counts = [
        {"topic": topic, "count": count}
        for topic, count in client.publish_counts.items()
        if only_topic in ("", topic)
    ]
    if counts:
        stats["pub_counts"] = counts
    return stats | _NO_TLS


def _memory_stats() -> dict[str, Any]:
    """nsqd's fields, each with Python's nearest figure, or 0 if Python has none.

    The bytes in use are the most that this process ever used.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {
        "heap_objects": sys.getallocatedblocks(),
        "heap_idle_bytes": 0,
        "heap_in_use_bytes": resident,
        "heap_released_bytes": 0,
        "gc_pause_usec_100": 0,
        "gc_pause_usec_99": 0,
        "gc_pause_usec_95": 0,
        "next_gc_bytes": 0,
        "gc_total_runs": sum(generation["collections"] for generation in gc.get_stats()),
    }


def _topic_lines(topic: dict[str, Any], now_s: int) -> list[str]:
    paused = "*P " if topic["paused"] else "   "
    header = (
        f"{paused}[{topic['topic_name']:<15}] depth: {topic['depth']:<5} be-depth: "
        f"{topic['backend_depth']:<5} msgs: {topic['message_count']:<8} e2e%: "
    )
    lines = [header]
    for channel in topic["channels"]:
        paused = "   *P " if channel["paused"] else "      "
        lines.append(
            f"{paused}[{channel['channel_name']:<25}] depth: {channel['depth']:<5} be-depth: "
            f"{channel['backend_depth']:<5} inflt: {channel['in_flight_count']:<4} def: "
            f"{channel['deferred_count']:<4} re-q: {channel['requeue_count']:<5} timeout: "
            f"{channel['timeout_count']:<5} msgs: {channel['message_count']:<8} e2e%: "
        )
        lines += [f"        {_client_line(each, now_s)}" for each in channel["clients"] or ()]
    return lines


def _client_line(client: dict[str, Any], now_s: int) -> str:
    port = client["remote_address"].rpartition(":")[2]
    name = f"{client['hostname']}:{port} {client['user_agent']}"
    connected = f"connected: {now_s - client['connect_ts']}s"
    if "pub_counts" in client:
        total = sum(each["count"] for each in client["pub_counts"])
        topics = ",".join(f"{each['topic']}={each['count']}" for each in client["pub_counts"])
        return f"[V2 {name:<21}] msgs: {total:<8} topics: {topics} {connected}"
    return (
        f"[V2 {name:<21}] state: {client['state']} inflt: {client['in_flight_count']:<4} rdy: "
        f"{client['ready_count']:<4} fin: {client['finish_count']:<8} re-q: "
        f"{client['requeue_count']:<8} msgs: {client['message_count']:<8} {connected}"
    )
