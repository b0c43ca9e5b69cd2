"""Two nsqds, one with a backlog: the other's plays do not wait for it, and RDY does not swing."""

import json
import time
import uuid

import pytest

from actors.launch import Service, wait_for
from tests.support.queues import QUEUES, RawClient, open_queue
from tests.support.recording_client import RecordingClient
from tests.support.services import ANY_PORTS

BACKLOG = 200_000
LONE = 15
PATIENCE_MS = 2000.0  # a busy machine's; on a quiet one some 10 ms


def _body(video):
    return json.dumps({"video_id": str(video)}).encode()


def _channel(queue):
    return queue.channel("plays", "playtally")


def _left(queue):
    channel = _channel(queue)
    return channel["depth"] + channel["in_flight_count"]


@pytest.mark.parametrize("kind", QUEUES)
def test_a_backlog_on_one_starves_no_other_and_its_ready_count_stays_up(kind, tmp_path):
    busy_video, lone_videos = uuid.UUID(int=7), [uuid.UUID(int=100 + n) for n in range(LONE)]
    with open_queue(kind, tmp_path / "busy") as busy, open_queue(kind, tmp_path / "quiet") as quiet:
        with RawClient(busy.tcp_address) as producer:
            for _ in range(BACKLOG // 1000):
                producer.publish("plays", *[_body(busy_video)] * 1000)
        with RecordingClient() as client, RawClient(quiet.tcp_address) as producer:
            addresses = json.dumps([busy.tcp_address, quiet.tcp_address])
            settings = [*ANY_PORTS, f"nsq.nsqd_tcp_addresses={addresses}", f"publish.url={client.url}"]
            with Service(tmp_path / "state", settings) as service:
                told_while_busy, ready_counts, depths, sent_ns = 0, [], [], {}
                for video in lone_videos:
                    producer.publish("plays", _body(video))
                    sent_ns[str(video)] = time.time_ns()
                    wait_for(lambda one=str(video): one in client.totals, "a lone play to be told", 20)
                    now = _channel(busy)
                    if now["depth"]:  # in the same answer as RDY: there is more than what is in flight
                        told_while_busy += 1
                        ready_counts += [one["ready_count"] for one in now["clients"]]
                        depths.append(now["depth"])
                wait_for(lambda: not _left(busy), "the backlog to be drained", 60, service.log)
                wait_for(lambda: service.status()["plays"]["counted"] == BACKLOG + LONE, "all counted", 20)
            latencies_ms = sorted(
                (one.at_ns - sent_ns[entry["video_id"]]) / 1e6
                for one in client.accepted()
                for entry in one.publish["videos"]
                if entry["video_id"] in sent_ns
            )
    assert told_while_busy >= 3, "the backlog was gone before anything was seen"
    assert len(latencies_ms) == LONE
    assert latencies_ms[LONE // 2] < PATIENCE_MS, latencies_ms
    # It has gone up to its share by then, and does not come down while there is more.
    steady = ready_counts[len(ready_counts) // 3 :]
    assert min(steady) >= max(steady) / 2 > 100, (ready_counts, depths)
