"""The command line and the service's own HTTP, as people and scripts use them.

The services are processes. A command is a process too if its streams, its terminal or its exit are tested.
Otherwise it is called `here`, in this process, because each start of Python costs a third of a second.
"""

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors import config
from actors.cli import commands
from actors.cli.launch import Service, wait_for
from actors.core.triggers import Trigger
from actors.supervision.signals import ONE_REQUEST_S
from actors.system import runfile
from actors.system.exits import Failure
from actors.system.installation import ROOT
from actors.version import VERSION
from tests.support.demo_reports import assert_held_but_for_time
from tests.support.interface import DEFAULTS
from tests.support.patience import PATIENCE_S
from tests.support.recording_client import RecordingClient, Reply
from tests.support.services import (
    ANY_PORTS,
    PATIENT,
    UNHURRIED,
    ledger_totals,
    open_service,
    wait_caught_up,
    wait_counted,
    wait_status,
)
from tests.support.terminals import lines_of, on_a_terminal, read_terminal

COMMANDS = ["run", "status", "kill", "config", "totals", "check", "stop", "demo"]
COMMANDS += ["republish", "accept-topic", "backup", "restore", "pause", "resume", "set"]
NEEDS = {
    "kill": ["consumer"],
    "backup": ["folder"],
    "restore": ["folder"],
    "republish": ["--all"],
    "pause": ["consuming"],
    "resume": ["publishing"],
    "set": ["publish.in_flight_max=8"],
}  # arguments
CHILDREN = ["nsqd", "client", "dispatcher", "counter-0", "counter-1", "consumer"]
VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 31)]


def run(*words, **options):
    """Run a command that needs no running service."""
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, **options
    )


def playtally(*words, **options):
    return run("supervisor.py", *words, **options)


@pytest.fixture
def here(capsys, monkeypatch):
    """Call a command in this process, for the service `of`."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*words, of=None):
        words = [words[0], *of.arguments, *words[1:]] if of else list(words)
        monkeypatch.setattr(sys, "argv", ["supervisor.py", *words])
        try:
            code = commands.main(words)
        except SystemExit as end:
            code = end.code
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return call


def play(service, plays: int, video: str = VIDEOS[0]) -> None:
    service.queue.put("plays", *[b'{"video_id": "%b"}' % video.encode()] * plays)


def get(service, path: str) -> tuple[int, bytes]:
    """Status and body of an answer of the service's own HTTP."""
    try:
        with urllib.request.urlopen(
            f"http://{service.facts()['admin_address']}{path}", timeout=PATIENCE_S
        ) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def session(leader: int) -> list[int]:
    """The processes of a service that still run. The service leads their group."""
    words = ["ps", "-A", "-o", "pid=,pgid=,stat="]
    listed = subprocess.run(words, capture_output=True, text=True, check=True)
    rows = (line.split() for line in listed.stdout.splitlines())
    return [int(pid) for pid, group, state in rows if int(group) == leader and not state.startswith("Z")]


def nothing_is_left(service) -> None:
    wait_for(lambda: not session(service.process.pid), "its processes to end", PATIENCE_S)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service that has counted and published: 150 plays of a video, 3 each of 29 more. Not for changes."""
    # All plays are published on receipt, so no play waits for a deadline and no play can be late.
    at_once = "dispatch.realtime_below=1000"
    with open_service("embedded", tmp_path_factory.mktemp("commands"), *UNHURRIED, at_once) as service:
        service.start()
        play(service, 150)
        for video in VIDEOS[1:]:
            play(service, 3, video)
        service.queue.put("plays", b"no play")
        wait_status(service, lambda status: status["plays"]["dead_lettered"] == 1, "the dead letter")
        wait_caught_up(service, 150 + 3 * 29)
        yield service


@pytest.fixture(scope="module")
def _living(tmp_path_factory):
    with open_service("embedded", tmp_path_factory.mktemp("living"), *PATIENT, *UNHURRIED) as service:
        yield service


@pytest.fixture
def living(_living):
    """A running service that tests may kill, stop and start."""
    if _living.ended:
        _living.start()
    return _living


@pytest.fixture(scope="module", autouse=True)
def demo():
    """The demo's output. The demo runs from the start of these tests on, because it waits for a deadline."""
    words = ["demo", "--plays", "3000", "--videos", "40", "--set", "dispatch.deadline_s=20"]
    process = subprocess.Popen(
        [sys.executable, "supervisor.py", *words, *(f"--set={one}" for one in ANY_PORTS)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def told() -> subprocess.CompletedProcess[str]:
        stdout, stderr = process.communicate(timeout=3 * PATIENCE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    yield told
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)


# Arguments


def explains(command: str, result: subprocess.CompletedProcess[str]) -> None:
    assert (result.returncode, result.stderr) == (0, ""), command
    assert f"usage: python supervisor.py {command}".rstrip() in result.stdout
    end = "3 restart intensity exceeded, 4 a store that can't be used. "
    assert re.sub(r"\s+", " ", result.stdout).endswith(end)
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_every_command_explains_itself_on_stdout_and_ends_with_0(here):
    for command in COMMANDS:
        explains(command, here(command, "--help"))
    result = playtally("--help", env=os.environ | {"COLUMNS": "80"})
    explains("", result)
    assert all(f"\n    {name} " in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("words", [["supervisor.py"], ["-m", "producer"]])
def test_both_command_lines_tell_their_version(words):
    result = run(*words, "--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"playtally {VERSION}\n", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["frobnicate"], "invalid choice: 'frobnicate' (choose from 'run', 'status', 'kill'"),
        (["kill"], "the following arguments are required: CHILD"),
        (["kill", "consumer", "--signal", "NOISE"], "no signal 'NOISE', expected a name like KILL, TERM"),
        (["kill", "consumer", "--signal", "99"], "no signal '99'"),
        (["status", "--jsno"], "unrecognized arguments: --jsno"),
        (["--set", "dispatch.deadline_s"], "--set 'dispatch.deadline_s', expected SECTION.KEY=VALUE"),
        (["--config", "/no/such/file"], "/no/such/file: cannot be read (No such file or directory)"),
        (["demo", "--plays", "0", "--seed", "x"], "--plays '0', expected a whole number, 1 to"),
        (["demo", "--plays", "0", "--seed", "x"], "--seed 'x', expected a whole number, 0 to"),
    ],
)
def test_bad_arguments_end_with_2_and_say_what_was_expected(words, told, here):
    result = here(*words)
    assert (result.returncode, result.stdout) == (2, "")
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_config_with_six_mistakes_lists_all_six_to_every_command_and_the_producer(tmp_path, here):
    file = tmp_path / "config.toml"
    file.write_text(
        '[dispatch]\nbatch_size_max = 50\ndeadline_s = "soon"\nrealtime = "sometimes"\nrush = 1\n'
        '[client]\naddress = "8080"\n[kitchen]\nsink = true\n'
    )
    mistakes = [
        "config.toml: dispatch.batch_size_max = 50, expected a whole number, 1 to 20",
        "config.toml: dispatch.deadline_s = 'soon', expected a number",
        'config.toml: dispatch.realtime = \'sometimes\', expected "coalesce" or "every_play"',
        "config.toml: unknown key dispatch.rush, expected one of realtime_below, deadline_s",
        "config.toml: client.address = '8080', expected \"host:port\"",
        "config.toml: unknown section [kitchen], expected one of nsq, embedded_nsqd",
    ]
    for result in (
        run("supervisor.py", "--config", str(file)),
        run("-m", "producer", "--config", str(file)),
        *(here(name, *NEEDS.get(name, []), "--config", str(file)) for name in COMMANDS),
    ):
        assert (result.returncode, result.stdout) == (2, ""), result.args
        for mistake in mistakes:
            assert mistake in result.stderr, result.args
        assert len([line for line in result.stderr.splitlines() if "expected" in line]) == 6


# Status


def test_status_as_json_has_the_documented_shape_and_is_what_the_http_says(service):
    result = service.command("status", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    status = json.loads(result.stdout)
    code, body = get(service, "/status")
    assert code == 200
    assert without_moments(status) == without_moments(json.loads(body))

    supervisor = status["supervisor"]
    assert supervisor["pid"] == service.process.pid
    assert isinstance(supervisor["uptime_s"], float)
    assert supervisor["strategy"] == "one_for_one"
    assert [child["id"] for child in status["children"]] == CHILDREN
    for child in status["children"]:
        assert set(child) >= {"id", "pid", "state", "incarnation", "restarts", "uptime_s"}
        assert (child["state"], child["incarnation"], child["restarts"]) == ("running", 1, 0)
        assert child["pid"] in session(service.process.pid)
        assert isinstance(child["uptime_s"], float)
        assert (child["store_bytes"] > 0) == (child["id"] != "consumer")
    plays = {"received": 238, "counted": 237, "redelivered": 0, "dead_lettered": 1}
    plays |= {"duplicates": 0, "reused_ids": 0}
    assert {name: status["plays"][name] for name in plays} == plays
    publishes = status["publishes"]
    assert set(publishes) >= {"total", *Trigger, "videos", "late", "failed"}
    assert publishes["total"] == sum(publishes[trigger] for trigger in Trigger)
    assert publishes["total"] == len(service.publishes())
    assert publishes["videos"] == sum(len(one["videos"]) for one in service.publishes())
    assert (publishes["late"], publishes["failed"]) == (0, 0)
    assert (status["pending_videos"], status["caught_up"]) == (0, True)


def without_moments(value):
    """Without what differs a moment later: times, memory, work."""
    if isinstance(value, dict):
        return {
            key: without_moments(one)
            for key, one in value.items()
            if not re.search(r"(_s|_ms|_bytes|_per_s|_share)$|recent|histograms|^full$|^at$", key)
        }
    return [without_moments(one) for one in value] if isinstance(value, list) else value


def test_status_shows_every_child_and_what_was_done(service):
    result = service.command("status")
    assert (result.returncode, result.stderr) == (0, "")
    for child in service.status()["children"]:
        assert re.search(rf"─ {child['id']} +running +{child['pid']} +#1 ", result.stdout), child
    assert "237 counted of 30 videos; 0 redeliveries dropped, 1 dead letters" in result.stdout
    assert "caught up: nothing in flight, every play published" in result.stdout


@pytest.mark.parametrize("command", ["status", "config", "check", "totals"])
def test_pages_fit_a_terminal_of_80_columns_and_nothing_in_them_is_cut(service, command):
    process, ours = on_a_terminal(command, *service.arguments)
    with os.fdopen(ours, closefd=True):
        shown = read_terminal(ours)
        assert process.wait(PATIENCE_S) == 0
    assert max(map(len, lines_of(shown))) <= 80
    assert "…" not in shown


def test_status_watch_refreshes_until_ctrl_c_and_ends_with_0(service):
    process, ours = on_a_terminal("status", *service.arguments, "--watch")
    with os.fdopen(ours, closefd=True):
        shown = read_terminal(ours, lambda text: text.count("caught up") >= 2)
        assert all(child in shown for child in CHILDREN)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        assert "Traceback" not in read_terminal(ours)


def test_a_reader_that_has_seen_enough_is_no_failure(service):
    reads, writes = os.pipe()
    os.close(reads)
    asked = (["totals"], ["status"], ["status", "--json"], ["config"], ["check"])
    processes = [
        subprocess.Popen(
            [sys.executable, "supervisor.py", words[0], *service.arguments, *words[1:]],
            cwd=ROOT,
            stdout=writes,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words in asked
    ]
    os.close(writes)
    for words, process in zip(asked, processes, strict=True):
        _, talk = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, talk) == (0, ""), words


FULL = [["config"], ["config", "--json"], ["config", "--example"], ["check"], ["--help"], ["--version"]]


@pytest.mark.parametrize(
    "words",
    [
        *(["supervisor.py", *words] for words in FULL),
        ["-m", "producer", "--help"],
        ["-m", "producer", "--version"],
    ],
    ids=" ".join,
)
def test_a_stdout_that_can_not_be_written_is_said_in_one_line(words):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (result.returncode, result.stderr) == (
        1,
        "stdout can not be written: No space left on device\n",
    )


# The service's own HTTP


def test_metrics_are_prometheus_text_and_agree_with_the_status(service):
    code, body = get(service, "/metrics")
    assert code == 200
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    status = service.status()
    for outcome in ("counted", "redelivered", "duplicates", "dead_lettered"):
        assert found["playtally_plays_total", outcome] == status["plays"][outcome]
    for trigger in Trigger:
        assert found["playtally_publishes_total", trigger] == status["publishes"][trigger]
    for name in ("videos", "late", "failed"):
        assert found[f"playtally_published_{name}_total",] == status["publishes"][name]
    for child in status["children"]:
        assert found["playtally_child_up", child["id"]] == 1
        assert found["playtally_child_restarts_total", child["id"]] == child["restarts"]
    assert found["playtally_pending_videos",] == 0
    assert found["playtally_caught_up",] == 1


def test_healthz_is_200_while_all_run_and_an_unknown_path_is_404(service):
    assert get(service, "/healthz")[0] == 200
    code, body = get(service, "/nothing-here")
    assert code == 404
    assert b"/status" in body


def test_healthz_is_503_while_a_child_is_down(living, here):
    # When the counter dies, this thread gets the ledger's lock, so the next counter can't start.
    with open(living.state_dir / "counter-0.lock", "r+b") as lock:
        waiting = threading.Thread(target=fcntl.flock, args=(lock, fcntl.LOCK_EX), daemon=True)
        waiting.start()
        while waiting.is_alive():  # try again if the next counter got the lock first
            if (pid := living.child("counter-0")["pid"]) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            waiting.join(1)

        def names_it() -> bool:  # a service that has just started may lack its queue, too
            status, told = get(living, "/healthz")
            return status == 503 and b"counter-0" in told

        wait_for(names_it, "the failing health", PATIENCE_S, living.log)
        check = here("check", of=living)
        assert check.returncode == 1
        assert "counter-0 is st" in check.stdout
    wait_for(lambda: get(living, "/healthz")[0] == 200, "health", PATIENCE_S, living.log)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's list of sockets")
def test_whatever_the_service_listens_on_is_on_loopback(service):
    inodes = set()
    for pid in session(service.process.pid):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(descriptor))
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
                listening.append(words[1].rpartition(":")[0])
    assert len(listening) >= 4  # the queue's two, the client's, the admin address
    assert set(listening) == {"0100007F"}


# Settings


def test_config_tells_value_unit_and_source_of_every_setting(tmp_path, here):
    file = tmp_path / "config.toml"
    file.write_text("[dispatch]\ndeadline_s = 2.5\n[counters]\nshards = 2\n")
    result = here("config", "--config", str(file), "--set", "publish.timeout_s=3", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    found = {one["key"]: one for one in json.loads(result.stdout)}
    assert set(found) >= set(DEFAULTS)

    def facts(key):
        return found[key]["value"], found[key]["unit"], found[key]["source"]

    assert facts("dispatch.deadline_s") == (2.5, "s", "config.toml")
    assert facts("publish.timeout_s") == (3, "s", "--set")
    assert facts("counters.shards") == (2, "processes", "config.toml")
    assert facts("dispatch.overdue_linger_ms") == (1000, "ms", "default")
    assert facts("nsq.topic") == ("plays", "", "default")
    for_people = here("config", "--config", str(file)).stdout
    assert all(re.search(rf"^{re.escape(key)} ", for_people, re.MULTILINE) for key in DEFAULTS)


def test_the_documented_defaults_are_the_codes_and_the_config_files(tmp_path):
    empty = tmp_path / "config.toml"
    empty.touch()
    in_code = {one.key: one.value for one in config.explain(empty)}
    in_code["supervisor.state_dir"] = os.path.relpath(in_code["supervisor.state_dir"], tmp_path)
    tree = tomllib.loads(config.PROJECT_FILE.read_text())
    in_file = {f"{section}.{key}": value for section, keys in tree.items() for key, value in keys.items()}
    for key, value in DEFAULTS.items():
        assert in_code[key] == value, key
        assert in_file[key] == value, key
    assert set(in_file) == set(in_code)


# Totals


def test_totals_are_the_same_while_the_service_runs_and_while_it_is_down(living, here):
    expected = dict.fromkeys(VIDEOS[:3], 4)
    for video in expected:
        play(living, 4, video)
    wait_caught_up(living, 12)
    assert json.loads(here("totals", "--json", of=living).stdout) == expected
    assert living.stop() == 0
    assert json.loads(here("totals", "--json", of=living).stdout) == expected
    result = living.command("totals")
    assert (result.returncode, result.stderr) == (0, "")
    assert all(re.search(rf"^{video} +4 +4", result.stdout, re.MULTILINE) for video in expected)
    assert "12 plays of 3 videos" in result.stdout


def test_without_a_service_or_its_ledgers_commands_say_what_to_do(tmp_path, here):
    service = Service(tmp_path / "empty", ANY_PORTS)
    for words in (["status"], ["status", "--json"], ["stop"], ["kill", "consumer"]):
        result = here(*words, of=service)
        assert (result.returncode, result.stdout) == (1, ""), words
        assert f"no service runs on {tmp_path / 'empty'}; start one with `python superv" in result.stderr
    result = here("totals", of=service)
    assert (result.returncode, result.stdout) == (1, "")
    assert f"no ledgers in {tmp_path / 'empty'}" in result.stderr
    assert "see supervisor.state_dir" in result.stderr


# Kill and stop


def test_kill_of_a_child_that_is_not_there_lists_those_that_are(service, here):
    result = here("kill", "counter-9", of=service)
    assert (result.returncode, result.stdout) == (1, "")
    assert f"no child 'counter-9', expected one of {', '.join(CHILDREN)}" in result.stderr


def test_sigterm_ends_a_child_in_order_and_it_comes_back_as_it_is_permanent(living):
    before = living.child("counter-1")
    result = living.command("kill", "counter-1", "--signal", "TERM")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == f"sent SIGTERM to counter-1 (pid {before['pid']})\n"

    def back():
        child = living.child("counter-1")
        came_back = child["incarnation"] == before["incarnation"] + 1 and child["state"] == "running"
        return child if came_back else None

    after = wait_for(back, "the counter to come back", PATIENCE_S, living.log)
    assert (after["restarts"], after["last_exit"]["how"]) == (before["restarts"] + 1, "exited(0)")
    assert after["pid"] != before["pid"]

    pid = living.process.pid
    result = living.command("stop")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == f"stopped the service (pid {pid})\n"
    assert living.process.wait(PATIENCE_S) == 0
    nothing_is_left(living)


def test_stop_needs_no_answer_over_http(living):
    file = living.state_dir / runfile.NAME
    facts = json.loads(file.read_text())
    file.write_text(json.dumps(facts | {"admin_address": "127.0.0.1:1"}))
    result = living.command("stop")
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert result.stderr == f"stopped the service (pid {facts['pid']})\n"
    assert living.process.wait(PATIENCE_S) == 0


def test_a_second_service_on_the_same_state_is_refused_and_the_first_untouched(service):
    before = service.status()
    second = service.command("run")
    assert (second.returncode, second.stdout) == (1, "")
    assert f"a service runs already on {service.state_dir} (pid {service.process.pid})" in second.stderr
    assert "stop it with `python supervisor.py stop`" in second.stderr
    assert without_moments(service.status()) == without_moments(before)
    assert service.facts()["pid"] == service.process.pid


def test_the_run_file_of_a_killed_supervisor_is_not_believed(living, here):
    living.kill()
    assert (living.state_dir / runfile.NAME).exists()
    for words in (["status"], ["stop"]):
        result = here(*words, of=living)
        assert result.returncode == 1
        assert "no service runs on" in result.stderr
    nothing_is_left(living)
    living.start()
    assert living.status()["supervisor"]["pid"] == living.process.pid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        '{"pid": -1}',
        '{"pid": 0}',
        '{"pid": 1}',
        '{"pid": "x"}',
        '{"pid": true}',
        '{"pid": -1, "admin_address": "127.0.0.1:1"}',
        '{"admin_address": "127.0.0.1:1"}',
        "\x00",
    ],
)
def test_a_run_file_that_is_none_of_ours_is_not_believed(text, tmp_path):
    # The pid is only looked up and never signalled: -1 would signal every process.
    (tmp_path / runfile.NAME).write_text(text)
    with open(runfile.lock_path(tmp_path), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert runfile.read(tmp_path) is None


def test_stop_does_not_signal_a_process_that_got_the_pid_of_a_service(tmp_path, here):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as innocent:
        try:
            service = Service(tmp_path, ANY_PORTS)
            runfile.write(str(tmp_path), {"pid": innocent.pid, "admin_address": "127.0.0.1:1"})
            result = here("stop", of=service)
            assert result.returncode == 1
            assert "no service runs on" in result.stderr
            assert innocent.poll() is None
        finally:
            innocent.kill()


def test_ctrl_c_publishes_what_is_pending_and_ends_in_order_with_0(tmp_path):
    never_due = ["dispatch.realtime_below=0", "dispatch.deadline_s=3600"]
    with (
        RecordingClient() as client,
        open_service("embedded", tmp_path, *UNHURRIED, *never_due, f"publish.url={client.url}") as service,
    ):
        service.start()
        play(service, 150)
        wait_counted(service, 150)
        play(service, 1, VIDEOS[1])
        status = wait_counted(service, 151)
        assert (status["pending_videos"], status["publishes"]["total"]) == (2, 0)
        os.killpg(service.process.pid, signal.SIGINT)  # as a terminal does: every process gets it
        assert service.process.wait(PATIENCE_S) == 0
        assert client.totals == {VIDEOS[0]: 150, VIDEOS[1]: 1}
        assert {one.publish["trigger"] for one in client.received} == {"drain"}
        stopped = re.findall(r"supervisor +(\S+)#1 stopped", service.log())
        assert stopped == ["consumer", "counter-1", "counter-0", "dispatcher", "client", "nsqd"]
        assert service.facts() is None
        nothing_is_left(service)


def test_ctrl_c_twice_does_not_wait_for_anybody(tmp_path):
    with (
        RecordingClient(lambda number, publish: Reply(200, after_s=3600)) as client,
        open_service(
            "embedded",
            tmp_path,
            f"publish.url={client.url}",
            "publish.timeout_s=600",
            "supervisor.shutdown_timeout_s=3600",
        ) as service,
    ):
        service.start()
        play(service, 1)
        wait_for(lambda: client.received, "the publish that is not answered", PATIENCE_S, service.log)
        os.killpg(service.process.pid, signal.SIGINT)
        wait_for(lambda: "stopping: finishing what is held" in service.log(), "the stop to begin", PATIENCE_S)
        assert service.process.poll() is None
        time.sleep(2 * ONE_REQUEST_S)
        os.killpg(service.process.pid, signal.SIGINT)
        assert service.process.wait(PATIENCE_S) in (0, 1)
        assert "killing what is left" in service.log()
        assert "Traceback" not in service.log()
        nothing_is_left(service)


@pytest.mark.parametrize(
    "setting", ["embedded_nsqd.tcp_address", "embedded_nsqd.http_address", "client.address", "admin.address"]
)
def test_an_address_that_is_taken_is_named_with_what_to_do_and_nothing_is_left_running(setting, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with open_service("embedded", tmp_path, f"{setting}={address}") as service:
            with pytest.raises(Failure):
                service.start()
            assert service.process.returncode == 1
            (line,) = (line for line in service.log().splitlines() if address in line)
            assert "in use" in line
            assert re.search("(another|free) (port|address)|set another", line)
            assert "Traceback" not in service.log()
            assert service.publishes() == []
            assert service.facts() is None
            nothing_is_left(service)


# Stdout of the service


def test_stdout_of_the_service_is_publishes_one_a_line_and_nothing_else(service):
    lines = service.publishes_file.read_text().splitlines()
    assert lines
    for line in lines:
        publish = json.loads(line)
        assert set(publish) == {"batch", "trigger", "videos"}
        assert isinstance(publish["batch"], str) and publish["batch"]
        assert publish["trigger"] in list(Trigger)
        assert 1 <= len(publish["videos"]) <= 20
        for video in publish["videos"]:
            assert set(video) >= {"video_id", "plays", "arrived_at_ns"}
            assert video["video_id"] in VIDEOS
            assert type(video["plays"]) is int and type(video["arrived_at_ns"]) is int
    assert len({json.loads(line)["batch"] for line in lines}) == len(lines)


def told(line, *words):
    """Run this line of a shell, with a Python program as "$@". Returns its exit code, and what it printed."""
    ran = subprocess.run(
        ["sh", "-c", line, "sh", sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.parametrize("words", FULL, ids=" ".join)
def test_with_stdout_closed_a_command_says_nothing(words):
    code, _, talk = told('exec "$@" >&-', "supervisor.py", *words)
    assert "Traceback" not in talk
    assert code == told('exec "$@" >/dev/null', "supervisor.py", *words)[0]


def test_a_path_that_the_encoding_of_this_machine_lacks_is_refused_in_words(tmp_path):
    (tmp_path / "config.toml").write_text('[supervisor]\nstate_dir = "ü"\n', encoding="utf-8")
    ascii_only = 'LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 exec "$@"'
    code, _, talk = told(ascii_only, "supervisor.py", "totals", "--config", str(tmp_path / "config.toml"))
    assert code == 2
    assert "supervisor.state_dir = '\\xfc', expected a path in this machine's encoding (ascii)" in talk


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
def test_the_exit_code_is_the_same_where_stderr_can_not_be_written(where, tmp_path):
    nothing = ["--set", f"supervisor.state_dir={tmp_path / 'none'}"]
    for words, code in (
        (["supervisor.py", "status", *nothing], 1),
        (["supervisor.py", "status", "--set", "no.such=1"], 2),
        (["supervisor.py", "no-such-command"], 2),
        (["-m", "producer", "--plays", "x"], 2),
        (["supervisor.py", "config"], 0),
    ):
        assert told(f'exec "$@" {where}', *words)[0] == code, words


def test_with_stdout_closed_and_no_client_it_does_not_start(tmp_path):
    words = [sys.executable, "supervisor.py", "run", *Service(tmp_path / "state", ANY_PORTS).arguments]
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *words, "--set", "publish.url="],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_S,
    )
    assert result.returncode == 1
    assert 'stdout is closed and publish.url = ""' in result.stderr


def test_with_stdout_closed_it_publishes_to_the_client_and_writes_into_no_other_file(tmp_path):
    with (
        RecordingClient() as client,
        open_service("embedded", tmp_path, *UNHURRIED, f"publish.url={client.url}") as service,
    ):
        service.program = ["sh", "-c", 'exec "$@" <&- >&-', "sh", *service.program]
        service.start()
        for number in range(1, 4):
            play(service, 1)
            wait_caught_up(service, number)
        assert [child["incarnation"] for child in service.status()["children"]] == [1] * len(CHILDREN)
        assert client.totals == ledger_totals(service)
        assert service.stop() == 0
        assert "Traceback" not in service.log()


# Check


def verdicts(result) -> dict[str, str]:
    """The verdict of `check` on each thing that it tried."""
    found = {}
    for line in result.stdout.splitlines():
        mark, what, _ = re.split(r"\s{2,}", line.strip() + "  ", maxsplit=2)
        found[what] = mark
    return found


def test_check_finds_everything_working_while_the_service_runs(service):
    result = service.command("check")
    assert (result.returncode, result.stderr) == (0, "")
    nsqd = f"nsqd {service.queue.address()}"
    things = ["state folder", "store", "service", nsqd, "topic", "channel", "client"]
    assert verdicts(result) == dict.fromkeys(things, "works")
    # `check` left nothing on the queue, and published nothing to the client.
    assert service.totals() == ledger_totals(service)


def test_check_without_a_service_skips_what_only_a_service_has(tmp_path, here):
    result = here("check", of=Service(tmp_path / "state", ANY_PORTS))
    assert result.returncode == 0
    nothing = dict.fromkeys(["store", "service", "queue", "client"], "-")
    assert verdicts(result) == {"state folder": "works"} | nothing
    assert not (tmp_path / "state").exists()


def test_check_names_what_does_not_work(tmp_path, here):
    with socket.socket() as closed, RecordingClient() as http:
        closed.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        url = f"publish.url=http://{nobody}/plays"
        service = Service(
            tmp_path / "state", [*ANY_PORTS, "client.enabled=false", url, f"nsq.nsqd_tcp_addresses={nobody}"]
        )
        result = here("check", of=service)
        assert result.returncode == 1
        assert verdicts(result) == {
            "state folder": "works",
            "store": "-",
            "service": "-",
            f"nsqd {nobody}": "FAILS",
            f"nsqd {nobody} HTTP": "WARNS",
            "topic": "-",
            "client": "FAILS",
        }
        refused = "nobody listens there (connection refused)"
        assert f"no nsqd at {nobody}: {refused}; expected one: see [nsq] in the config" in result.stdout
        assert f"http://{nobody}/plays: {refused}; expected your client there" in result.stdout

        not_nsqd = f"nsq.nsqd_tcp_addresses=127.0.0.1:{http.port}"
        result = here("check", of=Service(tmp_path / "state", [*ANY_PORTS, not_nsqd]))
        assert result.returncode == 1
        assert verdicts(result)[f"nsqd 127.0.0.1:{http.port}"] == "FAILS"
        assert "Traceback" not in result.stdout + result.stderr
    nowhere = Service(tmp_path / "state", [*ANY_PORTS, "publish.secret_env=PLAYTALLY_NOT_SET"])
    result = here("check", of=nowhere)
    assert result.returncode == 1
    assert "publish.secret_env = 'PLAYTALLY_NOT_SET', but that environment" in result.stdout


# The demo


def test_the_demo_does_the_whole_job_and_reports_all_that_was_asked_for(demo):
    result = demo()
    assert_held_but_for_time(result.returncode, result.stdout, result.stderr)
    assert "100 or more: within 20 s of arrival" in result.stdout
    told = re.sub(r"\s+", " ", result.stdout)
    for fact in (
        r"plays 3,000 of 40 videos, counted in [\d.]+ s \([\d,]+ plays/s\)",
        r"publishes \d+ \((\d+ (realtime|deadline|overdue|drain)(, )?)+\)",
        r"videos per publish [\d.]+ of 20",
        r"fewest possible \d+, for someone who knows all plays in advance; playtally does not know them",
        r"publishes each total when it is due, and made \d+ \(\d+\.\d times as many\)",
        r"spare capacity \d+ of [\d,]+ places",
        r"against one per play 3,000 publishes",
        r"against a 20 s timer \d+ publishes",
        r"realtime latency p50 [\d.,]+ ms, p99 [\d.,]+ ms",
        r"oldest hot play [\d.]+ s",
        r"where next (make run|python supervisor\.py) .*supervisor\.py status",
    ):
        assert re.search(fact, told), (fact, told)
    assert "Traceback" not in result.stderr
