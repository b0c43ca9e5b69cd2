"""A log that can't be written: nobody reads stderr, or the disk is full. The service works, and it ends."""

import contextlib
import os
import pty
import re
import socket
import subprocess
import sys
import termios
import threading
import urllib.request

import pytest

from actors.system.installation import ROOT
from tests.support.needed import lacking
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.queues import free_ports
from tests.support.services import (
    PATIENT,
    Load,
    facts_of,
    ledger_totals,
    open_service,
    wait_caught_up,
)

PLAYS = 3_000
KILLS = 3
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d [A-Z] [a-z]")


class Place:
    """Where the log of a service goes. `writes`: the descriptor for the service."""

    writes: int
    reads = -1

    def close(self) -> None:
        """Close what is open of it."""
        for end in {self.writes, self.reads} - {-1}:
            with contextlib.suppress(OSError):
                os.close(end)

    def go_on(self) -> None:
        """Let a place that has a reader take more."""


class FullPipe(Place):
    """A pipe that is full. Nobody reads it until there is a `Reader`."""

    def __init__(self) -> None:
        self.reads, self.writes = os.pipe()
        os.set_blocking(self.writes, False)
        for piece in (b"\n" * 4096, b"\n"):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(self.writes, piece)
        os.set_blocking(self.writes, True)


class ClosedPipe(Place):
    """A pipe whose reader is gone."""

    def __init__(self) -> None:
        reads, self.writes = os.pipe()
        os.close(reads)


class FullDisk(Place):
    """A file on a disk that is full."""

    def __init__(self) -> None:
        if not os.path.exists("/dev/full"):
            lacking("no /dev/full: it stands for a full disk here")
        self.writes = os.open("/dev/full", os.O_WRONLY)


class StoppedTerminal(Place):
    """A terminal whose output is stopped, as ^S does. It goes on when there is a `Reader`, as after ^Q."""

    def __init__(self) -> None:
        self.reads, self.writes = pty.openpty()
        termios.tcflow(self.writes, termios.TCOOFF)

    def go_on(self) -> None:
        termios.tcflow(self.writes, termios.TCOON)


class ClosedTerminal(Place):
    """A terminal whose window is closed."""

    def __init__(self) -> None:
        master, self.writes = pty.openpty()
        os.close(master)


@pytest.fixture(params=[FullPipe, ClosedPipe, FullDisk, StoppedTerminal, ClosedTerminal])
def place(request):
    place = request.param()
    yield place
    place.close()


class Reader:
    """Reads a place from now on, in a thread."""

    def __init__(self, place: Place):
        self.text = ""
        self._descriptor = place.reads
        place.go_on()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while piece := os.read(self._descriptor, 65536):
                self.text += piece.decode()

    @property
    def lines(self) -> list[str]:
        """The complete lines so far."""
        return [line.rstrip("\r") for line in self.text.split("\n")[:-1] if line.strip()]


def kill_and_wait(service, child_id) -> None:
    """Kill a child, and wait until it is back: the supervisor and the child's peers log that."""
    before = service.child(child_id)
    os.kill(before["pid"], 9)

    def back() -> bool:
        now = service.child(child_id)
        return now["incarnation"] > before["incarnation"] and now["state"] == "running"

    wait_until(back, f"{child_id} to come back")


def test_a_log_that_can_not_be_written_stops_neither_the_work_nor_the_end(place, tmp_path):
    with open_service("embedded", tmp_path, *PATIENT) as service:
        service.start(stderr=place.writes)
        load = Load(service, tmp_path, "--plays", str(PLAYS))
        for _ in range(KILLS):
            kill_and_wait(service, "counter-0")
        load.wait()
        status = wait_caught_up(service, PLAYS)
        ends = [child["last_exit"] for child in status["children"]]
        assert {one["how"] for one in ends if one is not None} <= {"killed(SIGKILL)"}
        if isinstance(
            place, ClosedPipe | FullDisk | ClosedTerminal
        ):  # the others keep the lines for a reader
            # The supervisor's lines: two for each kill, one for each start, and the last one of the start.
            least = 2 * KILLS + 1
            wait_until(lambda: service.status()["log_lines_dropped"] >= least, "the dropped lines")
            address = facts_of(service)["admin_address"]
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE_S) as answer:
                (figure,) = re.findall(
                    r"^playtally_log_lines_dropped_total (\S+)$", answer.read().decode(), re.MULTILINE
                )
            assert float(figure) >= least
        assert service.stop() == 0
        assert sum(ledger_totals(service).values()) == PLAYS


@pytest.mark.parametrize("place", [FullPipe, StoppedTerminal], indirect=True)
def test_what_nobody_read_is_there_for_a_late_reader_line_by_line(place, tmp_path):
    with open_service("embedded", tmp_path, *PATIENT) as service:
        service.start(stderr=place.writes)
        for _ in range(KILLS):
            kill_and_wait(service, "counter-0")
        reader = Reader(place)
        kill_and_wait(service, "counter-1")
        wait_until(lambda: "counter-1#2 started" in reader.text, "the last line")
        assert [line for line in reader.lines if not LINE.match(line)] == []
        starts = re.findall(r"(\S+#\d+) started", reader.text)
        assert starts[-KILLS - 1 :] == ["counter-0#2", "counter-0#3", "counter-0#4", "counter-1#2"]
        assert service.status()["log_lines_dropped"] == 0
        assert service.stop() == 0


@pytest.mark.parametrize("place", [FullPipe, ClosedPipe, FullDisk], indirect=True)
def test_a_reader_of_both_that_reads_neither_stops_neither_publishing_nor_the_end(place, tmp_path):
    with open_service("embedded", tmp_path, "supervisor.shutdown_timeout_s=1") as service:
        service.start(stdout=place.writes, stderr=place.writes)
        Load(service, tmp_path, "--plays", "500").wait()
        wait_caught_up(service, 500)
        assert sum(service.totals().values()) == 500
        assert service.stop() == 0


ALONE = {
    "client": ["--data-path", "{path}", "--address", "{address}"],
    "embedded_nsqd": ["--data-path", "{path}", "--http-address", "{address}", "--tcp-address", "127.0.0.1:0"],
}


@pytest.mark.parametrize("place", [FullPipe], indirect=True)
@pytest.mark.parametrize("module", ALONE)
def test_a_part_that_runs_alone_serves_and_ends_though_nobody_reads_its_log(module, place, tmp_path):
    (port,) = free_ports(1)
    words = [one.format(path=tmp_path, address=f"127.0.0.1:{port}") for one in ALONE[module]]
    process = subprocess.Popen(
        [sys.executable, "-m", f"actors.{module}", *words], cwd=ROOT, stderr=place.writes
    )

    def serves() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE_S) as one:
            one.sendall(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            return one.recv(4) == b"HTTP"
        return False

    try:
        wait_until(serves, "an answer")
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
