"""Secrets are shown nowhere, and a new one is taken while the service runs."""

import os
import subprocess
import sys
import urllib.request

import pytest

from actors.cli.launch import Service
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.secured_nsqd import SECRET
from tests.support.secured_service import descendants, files_with, processes_with, secured_service
from tests.support.services import ANY_PORTS, Load, wait_caught_up

SIGNING = "9d-what-publishes-are-signed-with-41"
PLAYS = ["--plays", "2000", "--seed", "1"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc: what processes show is seen there")
def test_a_secret_of_the_environment_is_shown_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("NSQD_SECRET", SECRET)
    monkeypatch.setenv("CLIENT_SECRET", SIGNING)
    settings = [
        "nsq.auth_secret_file=",
        "nsq.auth_secret_env=NSQD_SECRET",
        "publish.secret_env=CLIENT_SECRET",
    ]
    with secured_service(tmp_path, *settings, in_memory=True) as secured:
        service = secured.service
        (tmp_path / "secret").unlink()
        service.start()
        _ = Load(service, tmp_path, *PLAYS).wait()
        wait_caught_up(service, 2000)
        pids = descendants(service.process.pid)
        admin = f"http://{service.address('admin_address')}"
        shown = [service.log(), (tmp_path / "producer.log").read_text()]
        for path in ("/status", "/metrics"):
            with urllib.request.urlopen(admin + path, timeout=PATIENCE_S) as answer:
                shown.append(answer.read().decode())
        for words in (["config"], ["config", "--json"], ["status"], ["reload"], ["check"]):
            result = service.command(*words)
            assert result.returncode == 0, (words, result.stdout, result.stderr)
            shown += [result.stdout, result.stderr]
        for secret in (SECRET, SIGNING):
            assert all(secret not in text for text in shown)
            # whoever starts the service gave it to the supervisor itself
            assert set(processes_with(secret, pids)) <= {(service.process.pid, "environ")}
        assert len(pids) >= 6
        # a killed child gets what it needs again, and nothing more
        before = service.child("consumer")["incarnation"]
        os.kill(service.child("consumer")["pid"], 9)
        wait_until(lambda: service.child("consumer")["incarnation"] > before, "the consumer to come back")
        _ = Load(service, tmp_path, *PLAYS).wait()
        wait_caught_up(service, 4000)
        assert not set(processes_with(SECRET, descendants(service.process.pid)[1:]))
        service.stop()
        assert files_with(SECRET, tmp_path / "state", tmp_path / "authority") == []
        assert files_with(SIGNING, tmp_path / "state") == []


def test_a_new_secret_is_taken_and_what_needs_a_restart_is_said(tmp_path):
    config_file, another = tmp_path / "config.toml", "5e-another-secret-77"
    with secured_service(tmp_path) as secured:
        config_file.write_text("[dispatch]\nbatch_size_max = 20\n")
        service = Service(tmp_path / "state", [*ANY_PORTS, *secured.settings], config_file)
        secured.auth.allows.add(another)
        with service:
            assert service.command("reload").stdout == "nothing has changed\n"
            wait_until(lambda: clients(secured.nsqd), "a connection")
            connection = clients(secured.nsqd)

            secured.secret_file.write_text(another)
            config_file.write_text("[dispatch]\nbatch_size_max = 10\n")
            result = service.command("reload")
            assert result.returncode == 0, result.stderr
            assert result.stdout.splitlines() == [
                f"in force now: nsq.auth_secret_file: {secured.secret_file} changed and was read again",
                "needs a restart: dispatch.batch_size_max = 10 needs a restart; 20 is in force",
            ]
            assert clients(secured.nsqd) == connection  # it was good, and stays
            secured.nsqd.restart()
            wait_until(lambda: secured.auth.asked[-1] == another, "the new secret at nsqd")
            wait_until(lambda: clients(secured.nsqd), "a new connection")

            secured.secret_file.write_text("")
            secured.authority.ca_file.write_text("")
            result = service.command("reload")
            assert result.returncode == 1
            assert f"can't be used: nsq.tls_ca_file = '{secured.authority.ca_file}'" in result.stdout
            assert f"can't be used: nsq.auth_secret_file = '{secured.secret_file}'" in result.stdout
            assert clients(secured.nsqd)
            assert another not in service.log() + result.stdout


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("nsq.tls_ca_file=none.pem", "(No such file or directory)"),
        ("nsq.tls_cert_file=config.toml", "(not a certificate and its key)"),
        ("nsq.auth_secret_file=none", "(No such file or directory)"),
        ("nsq.auth_secret_env=NO_SUCH_SECRET", "is not set or is empty"),
    ],
)
def test_what_can_not_be_used_is_said_before_anything_starts(tmp_path, monkeypatch, setting, said):
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    key, _, value = setting.partition("=")
    config_file = tmp_path / "config.toml"
    nsqd = 'tls = true\nnsqd_tcp_addresses = ["127.0.0.1:1"]'
    config_file.write_text(f'[nsq]\n{nsqd}\n{key.removeprefix("nsq.")} = "{value}"\n')
    service = Service(tmp_path / "state", ANY_PORTS, config_file)
    for result in (service.command("run"), run_producer(service)):
        assert result.returncode == 2, result.stderr
        (line,) = [line for line in result.stderr.splitlines() if key in line]
        assert said in line
    assert not (tmp_path / "state").exists()


def run_producer(service):
    """Run the producer with the settings of the service. Returns what came of it."""
    command = [sys.executable, "-m", "producer", *service.arguments, "--plays", "1"]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL
    )


def clients(nsqd):
    """The addresses that read the channel."""
    channel = nsqd.channel("plays", "playtally")
    return [one["remote_address"] for one in channel["clients"]] if channel else []
