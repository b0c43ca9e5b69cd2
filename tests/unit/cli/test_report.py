"""The demo's report: what a run was, and which promises held."""

import pytest

from actors.cli.audit_run import Result
from actors.cli.report import DemoRun, findings, render
from actors.core.client.promises import Promise
from actors.core.triggers import Trigger

GUID = "5fec8982-705f-4a15-8228-3d03c74803e5"
NO_LATENCY = {"count": 0, "p50": None, "p99": None, "max": None}


def run_of(total, *, realtime=NO_LATENCY, hot=NO_LATENCY) -> DemoRun:
    """One publish of one video, with those latencies as the client's report has them."""
    economy = Result(
        publishes=1,
        by_trigger={"realtime": 1},
        duplicates=0,
        totals_told=1,
        videos=1,
        plays=total,
        plays_recorded=True,
        times_recorded=True,
        bound=1,
        bound_linger_ms=0,
        ratio=1.0,
        one_a_play=total,
        plain_timer=1,
        deadline_s=60,
        places=20,
        places_empty=19,
        publishes_full=0,
        realtime_slowest_ms=None,
        promises_broken={},
        broken=[],
    )
    return DemoRun(
        manifest={"plays": total, "totals": {GUID: total}},
        status={
            "publishes": {"total": 1, "late": 0, **dict.fromkeys(Trigger, 0), "realtime": 1},
        },
        report={
            "promises_broken_by_promise": {promise.value: 0 for promise in Promise},
            "videos_published": 1,
            "videos_per_publish": {"mean": 1.0},
            "plays_per_publish": float(total),
            "realtime_latency_ms": realtime,
            "hot_lateness_ms": hot,
        },
        told={GUID: total},
        publishes=[{"videos": [{"video_id": GUID, "plays": total}]}],
        economy=economy,
        count_seconds=1.0,
        produce_seconds=0.0,
        deadline_s=60.0,
        realtime_below=100,
    )


@pytest.mark.parametrize(
    ("run", "without"),
    [
        (
            run_of(7, realtime={"count": 1, "p50": 2.0, "p99": 2.0, "max": 2.0}),
            "100 or more: within 60 s of arrival",
        ),
        (run_of(700, hot={"count": 1, "p50": 2.0, "max": 2.0}), "under 100 plays: published as received"),
    ],
    ids=["no video had 100 plays", "the first total was above"],
)
def test_a_promise_that_no_total_came_under_is_held_and_it_is_said_why(run, without, capsys):
    found = {finding.promise: finding for finding in findings(run)}
    assert all(finding.held for finding in found.values())
    assert [promise for promise, one in found.items() if one.shown_by == "no such total"] == [without]
    render(run, list(found.values()))
    assert "promises broken: none" in capsys.readouterr().out
