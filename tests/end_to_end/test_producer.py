"""`python -m producer` as a process, on a real nsqd: its manifest must be exactly what the queue holds."""

import fcntl
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from actors.system import runfile
from producer import workload
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.real_nsqd import RealNsqd, real_lookupd

ROOT = Path(__file__).resolve().parents[2]
TOPIC = "plays"


class Run:
    """A producer as a process. `said`: what the producer has written to stderr so far."""

    def __init__(self, folder: Path, *arguments: str):
        self.manifest_path = folder / "manifest.json"
        config_path = folder / "config.toml"
        config_path.touch()
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "producer",
                "--config",
                str(config_path),
                "--manifest",
                str(self.manifest_path),
                *arguments,
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        for line in self.process.stderr:
            self.said += line

    def ends(self) -> int:
        """Wait until the producer ends by itself. Returns its exit code."""
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the producer did not end within {PATIENCE_S:g} s; its stderr:\n{self.said}")
        self._listener.join()
        return code

    def end(self) -> None:
        """Kill the producer if it still runs, and close the pipes."""
        self.process.kill()
        self.process.wait()
        self._listener.join()
        self.process.stdout.close()
        self.process.stderr.close()

    @property
    def manifest(self) -> dict:
        return json.loads(self.manifest_path.read_text())


@contextmanager
def producing(folder: Path, *arguments: str) -> Iterator[Run]:
    folder.mkdir(exist_ok=True)
    run = Run(folder, *arguments)
    try:
        yield run
    finally:
        run.end()


@pytest.fixture
def nsqd(tmp_path: Path) -> Iterator[RealNsqd]:
    with RealNsqd(tmp_path / "nsqd") as started:
        yield started


def at(*addresses: str) -> list[str]:
    return ["--set", f"nsq.nsqd_tcp_addresses={','.join(addresses)}"]


def total_of(*counts: dict[str, int]) -> Counter:
    return sum((Counter(count) for count in counts), Counter())


def test_the_manifest_is_exactly_what_the_queue_then_holds(nsqd, tmp_path):
    nsqd.start()
    asked = ["--plays", "5000", "--videos", "40", "--quiet-videos", "9", "--seed", "5"]
    with producing(tmp_path, *at(nsqd.tcp_address), *asked) as run:
        assert run.ends() == 0, run.said
        assert run.process.stdout.read() == "", "stdout must be empty, because the manifest goes to a file"
    expected = workload.make(5, 5000, 40, 9)
    assert run.manifest == {"plays": 5000, "seed": 5, "totals": expected.totals}
    messages = nsqd.drain(TOPIC)
    bodies = Counter(message.body for message in messages)
    assert bodies == {b'{"video_id":"%s"}' % guid.encode(): total for guid, total in expected.totals.items()}
    quiet = sum(1 for total in expected.totals.values() if total <= workload.QUIET_MAX)
    for told in ("5000 plays", "40 videos", f"{quiet} quiet", "seed 5"):
        assert told in run.said
    assert not list(tmp_path.glob(".manifest*")), "no draft of the manifest may be left behind"


def test_the_same_seed_produces_the_same_manifest_and_a_drawn_seed_can_be_used_again(nsqd, tmp_path):
    nsqd.start()
    small = [*at(nsqd.tcp_address), "--plays", "3000"]
    with producing(tmp_path / "drawn", *small) as drawn:
        assert drawn.ends() == 0, drawn.said
    seed = str(drawn.manifest["seed"])
    assert f"--seed {seed}" in drawn.said
    with producing(tmp_path / "again", *small, "--seed", seed) as again:
        assert again.ends() == 0, again.said
    assert drawn.manifest_path.read_bytes() == again.manifest_path.read_bytes()


def test_a_manifest_named_minus_is_all_there_is_on_stdout(nsqd, tmp_path):
    nsqd.start()
    asked = ["--plays", "500", "--videos", "5", "--seed", "1", "--manifest", "-"]
    with producing(tmp_path, *at(nsqd.tcp_address), *asked) as run:
        told = json.loads(run.process.stdout.read())
        assert run.ends() == 0, run.said
    assert told["totals"] == workload.make(1, 500, 5, 0).totals


def test_a_queue_that_is_not_there_yet_is_waited_for_and_said_once(nsqd, tmp_path):
    with producing(tmp_path, *at(nsqd.tcp_address), "--plays", "2000") as run:
        wait_until(lambda: nsqd.tcp_address in run.said, "the producer to say what it waits for")
        with pytest.raises(subprocess.TimeoutExpired):
            run.process.wait(1.2)  # Meanwhile the producer tries to connect two more times.
        nsqd.start()
        assert run.ends() == 0, run.said
    assert run.said.count("waiting for") == 1, run.said
    assert "Traceback" not in run.said and "WARNING" not in run.said, run.said
    assert nsqd.plays(TOPIC) == run.manifest["totals"]


def test_an_nsqd_that_nsqlookupd_does_not_know_yet_is_waited_for(tmp_path):
    with (
        real_lookupd() as (lookupd_tcp, lookupd_http),
        RealNsqd(tmp_path / "nsqd", "-lookupd-tcp-address", lookupd_tcp) as nsqd,
    ):
        asked = ["--set", f"nsq.lookupd_http_addresses=http://{lookupd_http}/"]
        with producing(tmp_path, *asked, "--plays", "2000") as run:
            wait_until(lambda: lookupd_http in run.said, "the producer to name the nsqlookupd that it asked")
            nsqd.start()
            assert run.ends() == 0, run.said
        assert nsqd.plays(TOPIC) == run.manifest["totals"]


def test_the_embedded_queue_on_any_free_port_is_found_through_the_running_service(nsqd, tmp_path):
    nsqd.start()
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    asked = ["--set", "embedded_nsqd.tcp_address=127.0.0.1:0"]
    asked += ["--set", f"supervisor.state_dir={state_dir}", "--plays", "2000"]
    with producing(tmp_path, *asked) as run:
        wait_until(lambda: str(state_dir) in run.said, "the producer to say which service it waits for")
        with open(runfile.lock_path(state_dir), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a supervisor holds this lock while it runs
            facts = {"pid": os.getpid(), "admin_address": "127.0.0.1:1"}
            runfile.write(str(state_dir), {**facts, "nsqd_tcp_address": nsqd.tcp_address})
            assert run.ends() == 0, run.said
    assert nsqd.plays(TOPIC) == run.manifest["totals"]


def test_two_nsqds_share_the_plays(tmp_path):
    with RealNsqd(tmp_path / "one") as one, RealNsqd(tmp_path / "two") as two:
        one.start()
        two.start()
        asked = [*at(one.tcp_address, two.tcp_address), "--plays", "6000"]
        with producing(tmp_path, *asked) as run:
            assert run.ends() == 0, run.said
        held = [one.plays(TOPIC), two.plays(TOPIC)]
    assert all(held), "each nsqd must get some plays"
    assert total_of(*held) == run.manifest["totals"]


def test_every_play_is_accounted_for_when_nsqd_is_killed_and_comes_back_midway(nsqd, tmp_path):
    nsqd.start()
    asked = ["--plays", "20000", "--seed", "8", "--rate", "10000"]
    with producing(tmp_path, *at(nsqd.tcp_address), *asked) as run:
        wait_until(lambda: nsqd.messages_put(TOPIC) > 1000, "nsqd to have some of the plays")
        nsqd.kill()
        wait_until(lambda: "lost nsqd" in run.said, "the producer to say that nsqd is lost")
        nsqd.start()
        code = run.ends()
    totals, unknown = run.manifest["totals"], run.manifest.get("unacknowledged", {})
    assert total_of(totals, unknown) == workload.make(8, 20000).totals
    assert code == (1 if unknown else 0), run.said
    held = nsqd.plays(TOPIC)
    assert Counter(totals) <= Counter(held) <= total_of(totals, unknown)


@pytest.mark.parametrize("answers_only", [True, False], ids=["answers lost", "plays lost"])
def test_plays_whose_answer_is_lost_are_neither_counted_nor_sent_again(nsqd, tmp_path, answers_only):
    nsqd.start()
    with Cut(nsqd.tcp_address, answers_before=5, answers_only=answers_only) as cut:
        asked = ["--plays", "16000", "--seed", "9"]
        with producing(tmp_path, *at(cut.address), *asked) as run:
            # Five MPUBs of a thousand plays each are acknowledged. At most eight more MPUBs are in flight.
            arrived = 13_000 if answers_only else 5000
            wait_until(
                lambda: nsqd.messages_put(TOPIC) >= arrived and cut.reached,
                "nsqd to have the plays that were let through",
            )
            cut.cut()
            assert run.ends() == 1, run.said
    totals, unknown = run.manifest["totals"], run.manifest["unacknowledged"]
    assert total_of(totals, unknown) == workload.make(9, 16000).totals
    assert "unknown outcome" in run.said and str(sum(unknown.values())) in run.said
    held = nsqd.plays(TOPIC)
    if answers_only:
        assert sum(unknown.values()) == 8000
        assert held == total_of(totals, unknown)
    else:
        assert 0 < sum(unknown.values()) <= 8000
        assert Counter(totals) <= Counter(held) <= total_of(totals, unknown)


def test_a_queue_that_refuses_the_plays_ends_the_run_with_its_reason(tmp_path):
    with RealNsqd(tmp_path / "nsqd", "-max-body-size", "500") as nsqd:
        nsqd.start()
        asked = ["--plays", "20", "--videos", "2"]
        with producing(tmp_path, *at(nsqd.tcp_address), *asked) as run:
            assert run.ends() == 1, run.said
        assert "body too big" in run.said
        assert run.manifest["plays"] == 0 and "unacknowledged" not in run.manifest
        assert nsqd.plays(TOPIC) == {}


def test_a_paced_run_takes_the_time_that_it_was_given_at_least(nsqd, tmp_path):
    nsqd.start()
    asked = ["--plays", "4000", "--seconds", "1"]
    with producing(tmp_path, *at(nsqd.tcp_address), *asked) as run:
        assert run.ends() == 0, run.said
    assert float(re.search(r"in ([\d.]+) s,", run.said)[1]) >= 0.99, run.said
    assert nsqd.plays(TOPIC) == run.manifest["totals"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_run_writes_down_what_it_had_produced(nsqd, tmp_path, number):
    nsqd.start()
    asked = ["--rate", "2000", "--plays", "100000"]
    with producing(tmp_path, *at(nsqd.tcp_address), *asked) as run:
        wait_until(lambda: nsqd.messages_put(TOPIC) > 200, "nsqd to have some of the plays")
        run.process.send_signal(number)
        assert run.ends() == 1, run.said
    assert f"stopped by {number.name}" in run.said
    # `unknown`: plays that nsqd did not acknowledge before the producer ended. It may be empty.
    totals, unknown = run.manifest["totals"], run.manifest.get("unacknowledged", {})
    assert 200 < total_of(totals, unknown).total() < 100000
    assert Counter(totals) <= Counter(nsqd.plays(TOPIC)) <= total_of(totals, unknown)


def test_under_nohup_the_end_of_a_terminal_stops_no_run(nsqd, tmp_path):
    nsqd.start()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it, for what is started now
    try:
        with producing(tmp_path, *at(nsqd.tcp_address), "--rate", "2000", "--plays", "3000") as run:
            wait_until(lambda: nsqd.messages_put(TOPIC) > 200, "nsqd to have some of the plays")
            run.process.send_signal(signal.SIGHUP)
            assert run.ends() == 0, run.said
    finally:
        signal.signal(signal.SIGHUP, before)
    assert run.manifest["plays"] == 3000


def test_all_that_is_wrong_is_listed_before_anything_is_produced(tmp_path):
    wrong = ["--plays", "none", "--rate", "0", "--manifest", str(tmp_path / "no" / "manifest")]
    with producing(tmp_path, *wrong, "--set", "nsq.topik=x") as run:
        assert run.ends() == 2
    for told in ("--plays 'none'", "--rate '0'", "no folder", "nsq.topik"):
        assert told in run.said


class Cut:
    """A proxy in front of nsqd that loses answers.

    The proxy lets `answers_before` answers through. Then it is silent: the producer gets no more. With
    `answers_only`, nsqd still gets the plays that the producer sends. Without `answers_only`, nsqd gets no
    more plays either. `cut` closes the connections. Connections that are made after `cut` work.
    """

    def __init__(self, nsqd_address: str, answers_before: int, answers_only: bool):
        host, _, port = nsqd_address.rpartition(":")
        self._nsqd = (host, int(port))
        self._answers_left = answers_before
        self._answers_only = answers_only
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._dumb = threading.Event()
        self._was_cut = threading.Event()
        self._ends: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._server.close()

    @property
    def reached(self) -> bool:
        return self._dumb.is_set()

    def cut(self) -> None:
        self._was_cut.set()
        self._dumb.set()
        while not self._ends.empty():
            with self._ends.get() as end:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # The other side closed first.

    def _serve(self) -> None:
        while True:
            try:
                producer, _ = self._server.accept()
                nsqd = socket.create_connection(self._nsqd)
            except OSError:
                return
            whole = self._was_cut.is_set()
            if not whole:
                self._ends.put(producer)
                self._ends.put(nsqd)
            for carry in (self._carry_plays, self._carry_answers):
                threading.Thread(target=carry, args=(producer, nsqd, whole), daemon=True).start()

    def _carry_plays(self, producer: socket.socket, nsqd: socket.socket, whole: bool) -> None:
        try:
            while part := producer.recv(65536):
                if not whole and not self._answers_only and self._dumb.is_set():
                    self._was_cut.wait()
                nsqd.sendall(part)
            nsqd.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def _carry_answers(self, producer: socket.socket, nsqd: socket.socket, whole: bool) -> None:
        stream = nsqd.makefile("rb")
        try:
            while size := stream.read(4):
                frame = stream.read(int.from_bytes(size, "big"))
                if not whole and frame[4:] == b"OK":
                    if self._answers_left == 0:
                        self._dumb.set()
                        continue
                    self._answers_left -= 1
                producer.sendall(size + frame)
            producer.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full", "2>&- <&-"])
def test_a_stderr_that_can_not_be_written_holds_up_no_play(where, tmp_path):
    with RealNsqd(tmp_path) as nsqd:
        nsqd.start()
        manifest = tmp_path / "manifest.json"
        words = ["-m", "producer", "--plays", "100", "--videos", "10", "--manifest", str(manifest)]
        settings = ["--set", f'nsq.nsqd_tcp_addresses=["{nsqd.tcp_address}"]']
        line = f'exec "$@" {where}'
        ran = subprocess.run(
            ["sh", "-c", line, "sh", sys.executable, *words, *settings], cwd=ROOT, check=False
        )
        assert ran.returncode == 0
        assert sum(json.loads(manifest.read_text())["totals"].values()) == 100
