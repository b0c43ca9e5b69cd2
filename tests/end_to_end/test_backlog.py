"""100,000 plays wait on the queue when the service starts: plays received together are told together."""

import time

import pytest

from actors.audit_run import examine
from actors.core.audit import Audit, Promises, Verdict
from actors.launch import Service
from actors.recordings import read_publishes
from tests.support.queues import QUEUES, open_queue
from tests.support.services import ANY_PORTS, Load, ledger_totals, wait_caught_up, wait_counted

PLAYS = 100_000
BATCHES = 5  # of 100 videos
MODES = [(0, 60.0), (100, 60.0), (0, 1.0), (1000, 1.0)]  # linger in ms, deadline in s


@pytest.mark.parametrize("kind", QUEUES)
def test_a_backlog_goes_out_in_few_publishes(kind, tmp_path):
    with open_queue(kind, tmp_path) as queue:
        settings = [*ANY_PORTS, f'nsq.nsqd_tcp_addresses=["{queue.tcp_address}"]', "dispatch.deadline_s=60"]
        # A channel from the start, so that each service after the first finds the same backlog in its own.
        for number in range(len(MODES)):
            queue.post("/topic/create?topic=plays")
            queue.post(f"/channel/create?topic=plays&channel=backlog-{number}")
        load = Load(Service(tmp_path / "none", settings), tmp_path, "--plays", str(PLAYS))
        expected = load.wait()["totals"]
        for number, (linger_ms, deadline_s) in enumerate(MODES):
            record = tmp_path / f"record-{number}"
            with Service(
                tmp_path / f"state-{number}",
                [
                    *settings,
                    f"nsq.channel=backlog-{number}",
                    f"dispatch.realtime_linger_ms={linger_ms}",
                    f"dispatch.deadline_s={deadline_s}",
                    f"client.record={record}",
                ],
            ) as service:
                wait_counted(service, PLAYS)
                counted_ns = time.time_ns()
                if deadline_s < 60:
                    wait_caught_up(service, PLAYS)  # else what is pending leaves when the service is stopped
                assert service.stop() == 0
                assert ledger_totals(service) == expected
            received = read_publishes(str(record), None)
            promises = Promises(deadline_s=deadline_s)
            audit = Audit(promises)
            for publish, at_ns in received:
                assert audit.receive(publish, at_ns).verdict is Verdict.ACCEPTED
            assert audit.totals() == expected
            found = examine(received, None, promises, linger_ms=linger_ms, overdue_linger_ms=1000)
            assert found.held
            drain_s = max(0, counted_ns - received[0].received_at_ns) / 1e9
            overdue_max = (drain_s + 2) * BATCHES  # overdue_linger_ms is a second
            print(
                f"{kind}: linger {linger_ms} ms, deadline {deadline_s} s: counted in {drain_s:.2f} s, "
                f"{found.publishes} publishes {found.by_trigger}, bound {found.bound}"
            )
            match linger_ms, deadline_s:
                case 0, 60.0:
                    assert found.publishes <= 400
                case 100, 60.0:
                    assert found.publishes <= 60
                case 0, _:  # first plays are realtime, however old
                    assert found.by_trigger["overdue"] <= overdue_max
                case _:
                    assert found.publishes <= overdue_max
            assert found.publishes >= BATCHES
