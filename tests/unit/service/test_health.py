"""Why a service is not healthy, in sentences that name the thing."""

from types import SimpleNamespace

import pytest

from actors.config import Settings
from actors.config.sections import NsqSection
from actors.core.stats import ConsumerStats, encode
from actors.service.health import down, reasons
from actors.supervision.states import State

ASKED_FOR = ["client", "counter-0", "consumer"]


def service(connections=1, settings=None, **states):
    """A service whose children run, but for those of `states`. None: it was deleted."""
    all_states = dict.fromkeys(ASKED_FOR, State.RUNNING) | {
        child_id.replace("_", "-"): state for child_id, state in states.items()
    }
    stats = encode(ConsumerStats(0, connections, 0))
    workers = [
        SimpleNamespace(
            spec=SimpleNamespace(id=child_id), state=state, stats=stats if child_id == "consumer" else None
        )
        for child_id, state in all_states.items()
        if state is not None
    ]
    application = SimpleNamespace(workers=lambda: workers, options=settings or Settings())
    return SimpleNamespace(application=application, asked_for=ASKED_FOR)


def test_a_service_whose_children_run_and_that_has_an_nsqd_is_healthy():
    assert (reasons(service()), down(service())) == ([], [])


@pytest.mark.parametrize(
    ("ill", "expected"),
    [
        (service(counter_0=State.STOPPED), ["counter-0 is stopped, expected running"]),
        (service(counter_0=State.STARTING), ["counter-0 is starting, expected running"]),
        (service(counter_0=None), ["counter-0 was deleted, expected running"]),
        (service(connections=0), ["no nsqd is connected, expected 127.0.0.1:4150"]),
        (
            service(consumer=None),
            ["consumer was deleted, expected running", "no nsqd is connected, expected 127.0.0.1:4150"],
        ),
    ],
    ids=["stopped", "starting", "deleted", "no nsqd", "no consumer"],
)
def test_each_reason_names_what_is_wrong(ill, expected):
    assert reasons(ill) == expected


@pytest.mark.parametrize(
    ("nsq", "expected"),
    [
        (NsqSection(nsqd_tcp_addresses=["a:1", "b:2"]), "one of a:1, b:2"),
        (NsqSection(lookupd_http_addresses=["c:3"]), "one that nsqlookupd c:3 knows for topic plays"),
        (
            NsqSection(nsqd_tcp_addresses=["a:1"], lookupd_http_addresses=["c:3"]),
            "a:1, or one that nsqlookupd c:3 knows for topic plays",
        ),
    ],
)
def test_which_nsqd_was_expected_is_told(nsq, expected):
    assert reasons(service(0, Settings(nsq=nsq))) == [f"no nsqd is connected, expected {expected}"]
