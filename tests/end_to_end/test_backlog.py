"""100,000 plays wait on the queue when the service starts: all are counted, and published as promised.

How many publishes that takes is tested in virtual time: tests/simulation/test_backlog.py.
"""

import pytest

from actors.cli.audit_run import examine
from actors.cli.launch import Service
from actors.cli.recordings import read_publishes
from actors.core.client.promises import Promises
from tests.support.queues import QUEUES, open_queue
from tests.support.services import ANY_PORTS, Load, ledger_totals, wait_caught_up, wait_counted

PLAYS = 100_000
BATCH_SIZE_MAX = 20
BATCHES = 5  # of 100 videos
FRESH_S, OLD_S = 3600.0, 0.1  # deadlines that every play keeps, and that no play keeps


@pytest.mark.parametrize("kind", QUEUES)
def test_a_backlog_is_told_exactly_be_it_in_time_or_too_old_already(kind, tmp_path):
    with open_queue(kind, tmp_path) as queue:
        settings = [*ANY_PORTS, f'nsq.nsqd_tcp_addresses=["{queue.tcp_address}"]']
        # Make each channel first, so that each service finds the same backlog in its own channel.
        queue.post("/topic/create?topic=plays")
        for deadline_s in (FRESH_S, OLD_S):
            queue.post(f"/channel/create?topic=plays&channel=backlog-{deadline_s:g}")
        expected = Load(Service(tmp_path / "none", settings), tmp_path, "--plays", str(PLAYS)).wait()[
            "totals"
        ]
        for deadline_s in (FRESH_S, OLD_S):
            record = tmp_path / f"record-{deadline_s:g}"
            with Service(
                tmp_path / f"state-{deadline_s:g}",
                [
                    *settings,
                    f"nsq.channel=backlog-{deadline_s:g}",
                    f"dispatch.deadline_s={deadline_s}",
                    f"client.record={record}",
                ],
            ) as service:
                if deadline_s == OLD_S:
                    wait_caught_up(service, PLAYS)
                else:
                    wait_counted(service, PLAYS)  # pending totals leave when the service is stopped
                assert service.stop() == 0
                assert ledger_totals(service) == expected
            received = read_publishes(str(record), None)
            told = {
                entry.video_id: entry.plays for publish, *_ in received for entry in publish.videos
            }  # the newest totals
            assert told == expected
            found = examine(received, None, Promises(deadline_s=deadline_s))
            assert found.held, found.broken
            assert found.by_trigger["deadline"] == 0
            if deadline_s == OLD_S:
                assert found.by_trigger["overdue"] >= 1
                assert found.by_trigger["drain"] == 0
            else:
                drains = [publish for publish, *_ in received if publish.trigger == "drain"]
                assert all(len(one.videos) == BATCH_SIZE_MAX for one in drains[:-1])
                assert found.by_trigger["overdue"] == 0
            assert found.publishes >= BATCHES
