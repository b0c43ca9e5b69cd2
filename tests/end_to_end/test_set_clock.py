"""A clock is set: that of an nsqd over its restart, or that of the machine that the service is on.

The nsqd with a clock of its own is built by tests/nsq/build.sh. In the processes of the service,
`sitecustomize` replaces Python's wall clock; their monotonic clock is as always.
"""

import struct
import time

import pytest

from actors.cli.launch import Service, wait_for
from tests.support.patience import PATIENCE_S
from tests.support.queues import QUEUES
from tests.support.real_nsqd import RealNsqd
from tests.support.recording_client import RecordingClient, Reply
from tests.support.services import (
    ANY_PORTS,
    PATIENT,
    ledger_totals,
    open_service,
    reading,
    wait_counted,
    wait_status,
)

VIDEO = "00000000-0000-4000-8000-000000000001"
PLAY = b'{"video_id": "%b"}' % VIDEO.encode()
PLAYS, PLAYS_AT_ONCE = 20_000, 100
HOUR_NS = 3_600_000_000_000
HOT = 100
DEADLINE_S = 4
SET_CLOCK = """
import mmap, os, struct, time
_file = open(os.environ["CLOCK_OFFSET_FILE"], "rb")
_offset = mmap.mmap(_file.fileno(), 8, prot=mmap.PROT_READ)
_real = time.time_ns
time.time_ns = lambda: _real() + struct.unpack("q", _offset[:8])[0]
time.time = lambda: time.time_ns() / 1e9
"""


class SetClock(RealNsqd):
    """An nsqd whose clock can be set while it does not run."""

    program = "nsqd-set-clock"

    def set_clock(self, offset_ns):
        self.environment = {"NSQD_CLOCK_OFFSET_NS": f"{offset_ns}"}

    def flood(self):
        """Put `PLAYS` plays, some at a time. Returns how long it took, in ns."""
        began_ns = time.monotonic_ns()
        for _ in range(PLAYS // PLAYS_AT_ONCE):
            self.post("/mpub?topic=plays", b"\n".join([PLAY] * PLAYS_AT_ONCE))
        return time.monotonic_ns() - began_ns


def test_ids_that_an_nsqd_gives_again_after_its_clock_was_set_back_are_of_other_plays(tmp_path):
    with SetClock(tmp_path) as nsqd:
        nsqd.start()
        service = Service(tmp_path / "state", [*ANY_PORTS, *PATIENT, reading(nsqd.tcp_address)])
        try:
            service.start()
            wait_for(lambda: nsqd.channel("plays", "playtally"), "the service's channel", PATIENCE_S)
            nsqd.post("/channel/create?topic=plays&channel=the_test")
            began_ns = time.monotonic_ns()
            nsqd.flood()
            wait_counted(service, PLAYS)
            nsqd.stop()
            # So that it starts in the moment in which it had put the first half.
            nsqd.set_clock(began_ns - time.monotonic_ns())
            nsqd.start()
            nsqd.flood()
            messages = nsqd.drain("plays")
            assert len(messages) == 2 * PLAYS
            assert len({one.id for one in messages}) < 2 * PLAYS
            # In one run of 100, two messages have one id and one nanosecond: nobody can tell them apart.
            plays = len({(one.id, one.stamp_ns) for one in messages})
            wait_counted(service, plays)
            found = wait_status(service, lambda status: status["plays"]["reused_ids"] > 0, "ids given again")
            assert found["plays"]["counted"] == plays
            assert ledger_totals(service) == {VIDEO: plays}
            wait_for(
                lambda: "an nsqd's clock was set back" in service.log(), "a line about the clock", PATIENCE_S
            )
        finally:
            service.end()


@pytest.fixture
def set_clock(tmp_path, monkeypatch):
    """Sets the wall clock of services that are started afterwards, by so many ns."""
    folder = tmp_path / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SET_CLOCK)
    offset = folder / "offset"
    offset.write_bytes(bytes(8))
    monkeypatch.setenv("CLOCK_OFFSET_FILE", str(offset))
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def set_to(offset_ns):
        with offset.open("r+b") as file:
            file.write(struct.pack("q", offset_ns))

    return set_to


@pytest.mark.parametrize("offset_ns", [-HOUR_NS, HOUR_NS], ids=["back", "ahead"])
@pytest.mark.parametrize("kind", QUEUES)
def test_a_hot_video_that_is_pending_when_the_clock_is_set_is_published(kind, offset_ns, set_clock, tmp_path):
    with (
        RecordingClient() as client,
        open_service(
            kind, tmp_path, *PATIENT, f"dispatch.deadline_s={DEADLINE_S}", f"publish.url={client.url}"
        ) as service,
    ):
        service.start()
        service.queue.put("plays", *[PLAY] * HOT)
        wait_for(lambda: client.totals == {VIDEO: HOT}, "the first total", PATIENCE_S)
        began_ns = time.time_ns()
        service.queue.put("plays", PLAY)
        wait_counted(service, HOT + 1)
        set_clock(offset_ns)
        service.queue.put("plays", PLAY)
        wait_for(lambda: client.totals == {VIDEO: HOT + 2}, "the pending plays", PATIENCE_S)
        # A busy machine may be late, by its own clock too.
        in_time = client.received[-1].at_ns - began_ns <= DEADLINE_S * 1_000_000_000
        assert service.status()["publishes"]["late"] == 0 or not in_time


@pytest.mark.parametrize("offset_ns", [-HOUR_NS, HOUR_NS], ids=["back", "ahead"])
def test_a_client_that_fails_is_tried_again_when_the_clock_is_set_meanwhile(offset_ns, set_clock, tmp_path):
    failing = True

    def answer(number, publish):
        return Reply(503) if failing else 200

    with (
        RecordingClient(answer) as client,
        open_service("embedded", tmp_path, *PATIENT, f"publish.url={client.url}") as service,
    ):
        service.start()
        service.queue.put("plays", PLAY)
        wait_status(service, lambda status: status["publishes"]["failed"] >= 3, "some attempts")
        set_clock(offset_ns)
        failed = service.status()["publishes"]["failed"]
        wait_status(service, lambda status: status["publishes"]["failed"] >= failed + 2, "more attempts")
        failing = False
        wait_for(lambda: client.totals == {VIDEO: 1}, "the total", PATIENCE_S)
