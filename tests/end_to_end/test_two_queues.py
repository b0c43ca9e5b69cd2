"""Two nsqds, one with an endless backlog: the plays of the other are published meanwhile. All are counted.

How soon, and how RDY moves, is tested in virtual time: tests/simulation/test_ready_count.py.
"""

import contextlib
import json
import threading
import uuid

import pytest

from actors.cli.launch import Service, wait_for
from tests.support.patience import PATIENCE_S
from tests.support.queues import QUEUES, RawClient, open_queue
from tests.support.recording_client import RecordingClient
from tests.support.services import ANY_PORTS, ledger_totals, wait_status

PLAYS_AT_ONCE = 10_000
BACKLOG_MIN, BACKLOG_MAX = 100_000, 200_000
LONE = 10
BUSY = uuid.UUID(int=7)


def _body(video):
    return json.dumps({"video_id": str(video)}).encode()


class Flood(contextlib.AbstractContextManager):
    """Keeps a backlog up while the context lasts, in a thread. `put`: the number of plays sent."""

    def __init__(self, queue):
        self.put = 0
        self._queue = queue
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_up)
        self._client = RawClient(queue.tcp_address)
        while self.put < BACKLOG_MIN:
            self._put()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        self._client.close()

    def depth(self):
        """How many messages wait, without those in flight."""
        return self._queue.channel("plays", "playtally")["depth"]

    def _put(self):
        self._client.publish("plays", *[_body(BUSY)] * PLAYS_AT_ONCE)
        self.put += PLAYS_AT_ONCE

    def _keep_up(self):
        while not self._ended.is_set():
            if self.depth() < BACKLOG_MAX:
                self._put()
            else:
                self._ended.wait(0.01)


@pytest.mark.parametrize("kind", QUEUES)
def test_plays_on_one_queue_are_told_while_the_backlog_on_the_other_lasts(kind, tmp_path):
    lone_videos = [uuid.UUID(int=100 + number) for number in range(LONE)]
    with (
        open_queue(kind, tmp_path / "busy") as busy,
        open_queue(kind, tmp_path / "quiet") as quiet,
        RecordingClient() as client,
        RawClient(quiet.tcp_address) as producer,
    ):
        for queue in (busy, quiet):
            queue.post("/topic/create?topic=plays")
            queue.post("/channel/create?topic=plays&channel=playtally")
        flood = Flood(busy)
        addresses = json.dumps([busy.tcp_address, quiet.tcp_address])
        settings = [*ANY_PORTS, f"nsq.nsqd_tcp_addresses={addresses}", f"publish.url={client.url}"]
        with Service(tmp_path / "state", settings) as service:
            with flood:
                for video in lone_videos:
                    producer.publish("plays", _body(video))
                    wait_for(
                        lambda one=str(video): one in client.totals, "a lone play to be published", PATIENCE_S
                    )
                wait_for(flood.depth, "the backlog to show", PATIENCE_S)
            plays = flood.put + LONE
            wait_status(service, lambda status: status["plays"]["counted"] == plays, "all counted")
            expected = {str(BUSY): flood.put} | {str(video): 1 for video in lone_videos}
            assert ledger_totals(service) == expected
            assert service.stop() == 0
        assert client.totals == expected
        assert client.wrong == []
