"""`cluster`: NSQ's own programs, started, killed, halted and ended by our supervision."""

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import psutil
import pytest

from actors.cli.launch import COMMAND, Service
from actors.cluster import control
from actors.system.exits import Failure
from actors.system.installation import environment
from tests.support.clusters import ClusterProcess, open_cluster
from tests.support.needed import lacking, need_root
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.queues import RawClient, free_ports, require_nsqd, sized
from tests.support.services import ANY_PORTS, ledger_totals, wait_caught_up
from tests.support.trouble import stands_still

VIDEO = "8f14e45f-ceea-467f-a9d2-0c2f4b6c1d3e"
PLAY = json.dumps({"video_id": VIDEO}).encode()
NOBODY = 65534
ON_DISK = ("--flag", "nsqd:mem-queue-size=0", "--flag", "nsqd:sync-every=1")


def lives(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def processes_of(cluster: ClusterProcess) -> list[psutil.Process]:
    """All processes of a cluster: its supervisor, the actors, the guards, the programs."""
    assert cluster.process is not None
    top = psutil.Process(cluster.process.pid)
    return [top, *top.children(recursive=True)]


def all_gone(pids: list[int]) -> bool:
    return not any(map(lives, pids))


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/ping", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def actor_pid(cluster: ClusterProcess, node: str) -> int:
    """The process id of the actor that runs a node now."""
    return int(re.findall(rf"{node}#\d+ started, pid (\d+)", cluster.log())[-1])


def test_a_cluster_prints_the_settings_with_which_a_service_reads_all_its_nsqds(tmp_path):
    with open_cluster(tmp_path, "--nsqd", "2", "--nsqlookupd", "2", "--nsqadmin") as cluster:
        nsq = cluster.nsq
        assert nsq["nsqd_tcp_addresses"] == [cluster.address(f"nsqd-{i}") for i in range(2)]
        assert nsq["nsqd_http_addresses"] == [cluster.address(f"nsqd-{i}", "http") for i in range(2)]
        assert nsq["lookupd_http_addresses"] == [cluster.address(f"nsqlookupd-{i}", "http") for i in range(2)]
        assert f"# nsqadmin: http://{cluster.address('nsqadmin', 'http')}/" in cluster.pasted()
        assert answers(cluster.address("nsqadmin", "http"))
        config = tmp_path / "config.toml"
        config.write_text(cluster.pasted())
        with Service(tmp_path / "state", ANY_PORTS, config) as service:
            for number in range(2):
                cluster.nsqd(number).post("/pub?topic=plays", PLAY)
            wait_caught_up(service, 2)
            assert ledger_totals(service) == {VIDEO: 2}
            found = service.status()["nsq"]["nsqds"]
            assert sorted(one["address"] for one in found) == sorted(nsq["nsqd_tcp_addresses"])
        for name in ("nsqd-0", "nsqd-1", "nsqlookupd-0", "nsqlookupd-1", "nsqadmin"):
            assert re.search(rf"{name}#1 .*listening on", cluster.log())
        assert cluster.stop() == 0
        assert "stopped" in cluster.log()


@pytest.mark.parametrize("whom", ["program", "actor"])
def test_a_node_that_is_killed_comes_back_on_its_port_with_its_data(tmp_path, whom):
    with open_cluster(tmp_path, *ON_DISK) as cluster:
        address, pid = cluster.address("nsqd-0"), cluster.pid("nsqd-0")
        cluster.nsqd().post("/topic/create?topic=plays")
        cluster.nsqd().post("/channel/create?topic=plays&channel=c")
        for _ in range(3):
            cluster.nsqd().post("/pub?topic=plays", PLAY)
        wait_until(lambda: cluster.nsqd().unfinished("plays", "c") == 3, "the plays on disk")
        os.kill(pid if whom == "program" else actor_pid(cluster, "nsqd-0"), signal.SIGKILL)
        wait_until(lambda: cluster.pid("nsqd-0") not in (pid, None), "another nsqd")
        assert all_gone([pid])
        assert cluster.address("nsqd-0") == address
        assert cluster.nsqd().unfinished("plays", "c") == 3
        if whom == "program":
            assert f"nsqd (pid {pid}) killed(SIGKILL)" in cluster.log()


@pytest.mark.parametrize("whom", ["supervisor", "all of ours"])
def test_no_program_outlives_a_cluster_that_is_killed(tmp_path, whom):
    with open_cluster(tmp_path, "--nsqd", "2", "--nsqlookupd", "1") as cluster:
        cluster.act("pause", "nsqd-1")
        processes = processes_of(cluster)
        pids = [one.pid for one in processes]
        programs = {cluster.pid(name) for name in ("nsqd-0", "nsqd-1", "nsqlookupd-0")}
        assert programs <= set(pids)
        if whom == "supervisor":
            cluster.kill()
        else:  # as `pkill -9 -f playtally` and Python's own helpers at the same moment
            ours = [one for one in processes if one.name() not in ("sh", "nsqd", "nsqlookupd")]
            assert len(ours) >= 4
            for one in ours:
                one.suspend()
            for one in ours:
                one.kill()
            cluster.kill()
        wait_until(lambda: all_gone(pids), "all processes to end")
    with open_cluster(tmp_path, "--nsqd", "1") as cluster:  # the folder is free again
        assert answers(cluster.address("nsqd-0", "http"))


def test_a_node_whose_guard_is_killed_is_started_again_under_another(tmp_path):
    with open_cluster(tmp_path) as cluster:
        pid = cluster.pid("nsqd-0")
        [guard] = [one for one in processes_of(cluster) if one.name() == "sh"]
        guard.kill()
        wait_until(lambda: cluster.pid("nsqd-0") not in (pid, None), "another nsqd")
        assert all_gone([pid])


def test_a_node_is_stopped_started_paused_and_resumed_from_another_terminal(tmp_path):
    with open_cluster(tmp_path, "--nsqd", "2", "--nsqlookupd", "1", "--nsqadmin") as cluster:
        for name, do in (("nsqd-1", cluster.do), ("nsqlookupd-0", cluster.act), ("nsqadmin", cluster.act)):
            address, pid = cluster.address(name, "http"), cluster.pid(name)
            assert f"{name}  paused  pid {pid}" in do("pause", name)
            wait_until(lambda pid=pid: stands_still(pid), f"{name} to stand still")
            with socket.create_connection(tuple(address.split(":")), PATIENCE_S) as halted:
                halted.settimeout(0.2)
                halted.sendall(b"GET /ping HTTP/1.0\r\n\r\n")
                with pytest.raises(TimeoutError):
                    halted.recv(1)
            assert f"{name}  running  pid {pid}" in do("resume", name)
            wait_until(lambda address=address: answers(address), f"{name} to answer")
            do("pause", name)
            with pytest.raises(
                Failure, match=f"{name} is paused, expected stopped: .* cluster resume {name}"
            ):
                cluster.act("start", name)
            assert do("stop", name).startswith(f"{name}  stopped")  # a halted one is stopped too
            assert all_gone([pid])
            with pytest.raises(Failure, match=f"{name} is stopped, expected running: start it first"):
                cluster.act("pause", name)
            assert do("start", name).startswith(f"{name}  running  pid ")
            assert cluster.address(name, "http") == address
            wait_until(lambda address=address: answers(address), f"{name} to answer")
        assert answers(cluster.address("nsqd-0", "http"))
        cluster.act("stop", "nsqd-1")
        for words, code, error in (
            (("pause", "nsqd-1"), 1, "nsqd-1 is stopped, expected running: start it first"),
            (("start", "nsqd-0"), 1, "nsqd-0 is running, expected stopped"),
            (
                ("stop", "nsqd-7"),
                1,
                "no node 'nsqd-7', expected one of nsqlookupd-0, nsqd-0, nsqd-1, nsqadmin",
            ),
            (("stop",), 2, "the following arguments are required: NODE"),
        ):
            refused = cluster.command(*words)
            assert refused.returncode == code
            assert error in refused.stderr
    without = cluster.command("stop", "nsqd-0")
    assert without.returncode == 1
    assert f"no cluster runs on {tmp_path / 'cluster'}" in without.stderr


def test_a_second_cluster_on_a_port_or_a_folder_is_refused_in_one_line_and_harms_nothing(tmp_path):
    with open_cluster(tmp_path, "--nsqd", "2") as cluster:
        pids = [cluster.pid("nsqd-0"), cluster.pid("nsqd-1")]
        port = int(cluster.address("nsqd-1").partition(":")[2])
        for second, error in (
            (
                ClusterProcess(tmp_path / "second", port=port),
                f"taken: 127.0.0.1:{port} (nsqd-0, tcp-address)",
            ),
            (ClusterProcess(tmp_path / "cluster", port=free_ports(1)[0]), "a cluster runs already on"),
        ):
            process = second.launch()
            assert process.wait(PATIENCE_S) == 1
            assert second.pasted() == ""
            assert [line for line in second.log().splitlines() if error in line]
        assert [cluster.pid("nsqd-0"), cluster.pid("nsqd-1")] == pids


def run_cluster(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a `cluster` that is to be refused."""
    return subprocess.run(
        [*COMMAND, "cluster", *words],
        env=environment() | environ,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )


def given_away(folder: Path) -> None:
    """Another user's folder."""
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)


def with_a_file_of_another(folder: Path) -> None:
    """This user's folder, with a file of another user."""
    folder.mkdir()
    (folder / control.NAME).write_text("{}")
    os.chown(folder / control.NAME, NOBODY, NOBODY)


def led_elsewhere(folder: Path) -> None:
    """A link of another user to a folder of this one."""
    (folder.parent / "own").mkdir()
    folder.symlink_to(folder.parent / "own")
    os.chown(folder, NOBODY, NOBODY, follow_symlinks=False)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (given_away, "belongs to the user nobody (65534), expected"),
        (with_a_file_of_another, "belongs to the user nobody (65534), expected"),
        (led_elsewhere, "is a link of the user nobody (65534)"),
    ],
)
def test_a_folder_that_another_user_has_is_refused_by_every_command(tmp_path, make, error):
    need_root()
    require_nsqd()
    folder = tmp_path / "c"
    make(folder)
    before = sorted(folder.iterdir())
    for words in (["status"], ["stop", "nsqd-0"], ["--nsqd", "1"]):
        ran = run_cluster(*words, "--data-dir", str(folder))
        assert (ran.returncode, ran.stdout) == (1, "")
        assert error in ran.stderr.splitlines()[-1]
    assert sorted(folder.iterdir()) == before


def test_without_the_programs_one_line_says_how_to_get_them(tmp_path):
    ran = run_cluster(
        "--nsqd", "1", "--nsqlookupd", "1", "--data-dir", str(tmp_path / "c"), PATH=str(tmp_path)
    )
    assert ran.returncode == 1
    [line] = ran.stderr.splitlines()
    assert line.startswith("no nsqd, nsqlookupd on PATH")
    assert "make -s nsqd" in line
    assert not (tmp_path / "c").exists()


def test_without_openssl_one_line_says_that_tls_needs_it(tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "nsqd").symlink_to(require_nsqd())
    ran = run_cluster("--tls", "--data-dir", str(tmp_path / "c"), PATH=str(programs))
    [line] = ran.stderr.splitlines()
    assert ran.returncode == 1
    assert line.endswith(" no openssl on PATH, expected it: --tls makes its certificates with it")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--flag", "mem-queue-size=0"], "'mem-queue-size=0', expected PROGRAM:NAME=VALUE"),
        (["--flag", "nsqx:a=1"], "expected PROGRAM:NAME=VALUE with a PROGRAM of nsqd, nsqlookupd, nsqadmin"),
        (["--flag", "nsqd:tcp-address=:1"], "the cluster sets tcp-address itself, see --port"),
        (["--nsqd", "51"], "'51', expected a whole number, 0 to 50 nodes"),
        (["--nsqd", "x"], "'x', expected a whole number, 0 to 50 nodes"),
        (["--nsqd", "0"], "--nsqd 0 and --nsqlookupd 0, expected one node at least"),
        (["--port", "65000"], "'65000', expected a whole number, 0 to 60535"),
    ],
)
def test_an_option_that_can_not_be_is_refused_with_what_is_expected(words, error):
    ran = run_cluster(*words)
    assert ran.returncode == 2
    assert error in ran.stderr


def test_flags_are_passed_on_and_one_that_a_program_does_not_know_is_named_in_one_line(tmp_path):
    flags = ["--flag", "nsqd:max-rdy-count=77", "--flag", "nsqlookupd:--log-level=debug"]
    with open_cluster(tmp_path, "--nsqlookupd", "1", *flags) as cluster:
        with RawClient(cluster.address("nsqd-0")) as client:
            assert client.identify()["max_rdy_count"] == 77
    flags = ["--flag", "nsqd:no-such-flag=1", "--flag", "nsqlookupd:log-level=loud", *flags]
    wrong = ClusterProcess(tmp_path / "wrong", "--nsqlookupd", "1", *flags)
    assert wrong.launch().wait(PATIENCE_S) == 2
    assert wrong.pasted() == ""
    unknown, value = wrong.log().splitlines()
    assert unknown.startswith("--flag nsqd:no-such-flag=1: nsqd does not know the flag no-such-flag")
    assert value.startswith(
        '--flag nsqlookupd:log-level=loud: nsqlookupd does not take this (invalid value "'
    )
    assert not (tmp_path / "wrong").exists()


def test_a_folder_in_which_others_can_write_is_its_owners_alone_from_then_on(tmp_path):
    folder = tmp_path / "cluster"
    folder.mkdir()
    folder.chmod(0o777)
    with open_cluster(tmp_path, "--nsqd", "1") as cluster:
        assert folder.stat().st_mode & 0o022 == 0
        assert f"{folder}: other users could write in it" in cluster.log()


def test_data_is_kept_in_the_folder_that_is_named_and_thrown_away_without_one(tmp_path):
    with open_cluster(tmp_path, *ON_DISK) as cluster:
        cluster.nsqd().post("/pub?topic=plays", PLAY)
        assert cluster.stop() == 0
    with open_cluster(tmp_path, *ON_DISK) as cluster:
        topic = cluster.nsqd().topic("plays")
        assert topic is not None
        assert topic["depth"] == 1
    thrown = ClusterProcess(tmp_path / "unused", *ON_DISK)
    thrown.words = thrown.words[:-2]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        temporary = Path(folder)  # short: a Unix socket's path has 108 bytes at most
        patch.setenv("TMPDIR", str(temporary))
        for _ in range(2):
            try:
                thrown.start()
                [kept] = temporary.glob("playtally-cluster-*")
                assert kept.stat().st_mode & 0o777 == 0o700
                assert (kept / "nsqd-0" / "nsqd.dat").exists()
                ran = run_cluster("status")  # finds it without a --data-dir
                assert re.match(r"nsqd-0  running  pid \d+", ran.stdout), ran
                thrown.kill() if thrown.log().count("Ctrl-C") == 1 else thrown.stop()
            finally:
                thrown.end()
        assert sorted(one.name for one in kept.iterdir()) == ["cluster.lock"]


def test_tls_has_an_authority_of_its_own_and_nothing_but_tls_is_taken(tmp_path):
    if not any(Path(folder, "openssl").exists() for folder in os.environ["PATH"].split(os.pathsep)):
        lacking("no openssl on PATH: it makes the certificates")
    flags = ["--flag", "nsqd:tls-required=true", "--flag", "nsqd:tls-client-auth-policy=require-verify"]
    for more, with_client in ([], False), (flags, True):
        with open_cluster(tmp_path, "--tls", "--nsqd", "1", *more) as cluster:
            nsq = cluster.nsq
            assert nsq["tls"] is True
            context = ssl.create_default_context(cafile=nsq["tls_ca_file"])
            if with_client:
                commented = dict(re.findall(r'# (tls_\w+) = "(.*)"', cluster.pasted()))
                context.load_cert_chain(commented["tls_cert_file"], commented["tls_key_file"])
            [url] = nsq["nsqd_http_addresses"]
            assert url.startswith("https://127.0.0.1:")
            with urllib.request.urlopen(f"{url}/ping", timeout=PATIENCE_S, context=context) as answer:
                assert answer.read() == b"OK"
            with RawClient(cluster.address("nsqd-0")) as plain:
                plain.identify()
                plain.send(b"SUB plays c\n")
                assert plain.error().startswith("E_INVALID")
            host, port = cluster.address("nsqd-0").split(":")
            with socket.create_connection((host, int(port)), PATIENCE_S) as raw:
                raw.sendall(b"  V2IDENTIFY\n" + sized(b'{"feature_negotiation": true, "tls_v1": true}'))
                size = int.from_bytes(raw.recv(4, socket.MSG_WAITALL), "big")
                agreed = json.loads(raw.recv(size, socket.MSG_WAITALL)[4:])
                assert agreed["tls_v1"] is True
                with context.wrap_socket(raw, server_hostname=host) as secured:
                    assert secured.recv(10).endswith(b"OK")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_before_any_node_runs_ends_all_and_leaves_no_data(tmp_path, number):
    cluster = ClusterProcess(tmp_path / "unused", "--nsqd", "2", "--tls")
    cluster.words = cluster.words[:-2]  # its folder is thrown away
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        try:
            process = cluster.launch()
            wait_until(lambda: [*Path(folder).glob("*/tls/ca.key")], "certificates that are being made")
            pids = [one.pid for one in processes_of(cluster)]
            os.kill(process.pid, number)
            assert process.wait(PATIENCE_S) == 0, cluster.log()
            wait_until(lambda: all_gone(pids), "all to end")
            assert "stopped" in cluster.log().splitlines()[-1]
            assert "Traceback" not in cluster.log()
            assert [one.name for one in Path(folder).glob("*/*")] == ["cluster.lock"]
        finally:
            cluster.end()


def test_ctrl_c_and_a_closed_terminal_end_all_in_order(tmp_path):
    for number in (signal.SIGINT, signal.SIGHUP):
        with open_cluster(tmp_path, "--nsqd", "1", "--nsqlookupd", "1") as cluster:
            assert cluster.process is not None
            pids = [one.pid for one in processes_of(cluster)]
            os.killpg(cluster.process.pid, number)  # as a terminal does: to all of the group
            assert cluster.process.wait(PATIENCE_S) == 0
            wait_until(lambda pids=pids: all_gone(pids), "all to end")
            assert "NSQ: bye" in cluster.log()
