"""The source on real nsqds that crash, hang, have several names, refuse our settings, or are none at all."""

import contextlib
import json
import uuid

from actors.cli.launch import Service
from tests.support.patience import wait_until
from tests.support.queues import QueueProcess, RawClient, require_nsqd
from tests.support.services import ANY_PORTS, reading, wait_counted

VIDEO = uuid.UUID(int=7)
BODY = json.dumps({"video_id": str(VIDEO)}).encode()


def put(queue, plays):
    with RawClient(queue.tcp_address) as client:
        client.publish("plays", *[BODY] * plays)


def test_no_connection_stays_stalled_after_a_crash_that_doubled_messages(tmp_path):
    """A crashed nsqd may have a message twice. Its count of messages in flight is then too high, for ever."""
    options = ["--mem-queue-size=0", "--sync-every=1000000", "--sync-timeout=3600s"]
    require_nsqd()
    queue = QueueProcess("nsqd", tmp_path, options=options)
    with contextlib.closing(queue):
        queue.start()
        queue.post("/topic/create?topic=plays")
        queue.post("/channel/create?topic=plays&channel=playtally")
        queue.post("/topic/pause?topic=plays")
        queue.post("/mpub?topic=plays", b"\n".join([BODY] * 200))
        queue.restart()
        queue.post("/topic/unpause?topic=plays")
        wait_until(lambda: queue.channel("plays", "playtally")["depth"] == 200, "the plays in the channel")
        queue.kill()
        queue.start()
        with Service(tmp_path / "state", [*ANY_PORTS, reading(queue.tcp_address)]) as service:
            wait_counted(service, 200)
            for number in range(1, 6):
                put(queue, 20)
                wait_counted(service, 200 + 20 * number)
            status = service.status()
            assert status["plays"]["counted"] == 300
            log = service.log()
            assert "FINs" in log and "replac" in log, log
            assert log.count("nsqd refused") == 1
