"""The service of a demo or a drill: no setting leads it to anything of somebody else's."""

import os
import signal
import time
from pathlib import Path

import msgspec
import pytest

from actors import config
from actors.cli.own_service import ANY_PORT, interruptible, own_service
from actors.config import Settings, SinkKind
from actors.tree import publishes_to_client
from tests.support.config_problems import value_of

# Every setting that leads out of the service, with a value that leads to somebody else.
OTHERS = {
    "nsq.nsqd_tcp_addresses": ["queue:4150"],
    "nsq.nsqd_http_addresses": ["queue:4151"],
    "nsq.lookupd_http_addresses": ["lookup:4161"],
    "nsq.tls_ca_file": "/ca.pem",
    "nsq.tls_cert_file": "/cert.pem",
    "nsq.tls_key_file": "/key.pem",
    "nsq.tls_server_name": "queue",
    "nsq.auth_secret_env": "",  # not with a file: below
    "nsq.auth_secret_file": "/secret",
    "embedded_nsqd.tcp_address": "0.0.0.0:4150",
    "embedded_nsqd.http_address": "0.0.0.0:4151",
    "publish.url": "http://client:80/plays",
    "publish.nsq_topic": "",  # not with a URL: below
    "publish.proxy": "http://proxy:3128",
    "publish.totals_url": "http://client:80/totals",
    "publish.token_env": "",  # not with a file: below
    "publish.token_file": "/token",
    "client.record": "/record.jsonl",
    "client.address": "0.0.0.0:8080",
    "admin.address": "0.0.0.0:8081",
    "supervisor.state_dir": "/state",
}
# Other texts, which lead nowhere: names within the own queue and its messages, what is used with a URL of
# https alone, and the names that a listener answers to.
WITHIN = {
    "nsq.topic",
    "nsq.channel",
    "nsq.play_id",
    *(f"publish.{key}" for key in ("secret_env", "secret_file")),
    *(f"publish.{key}" for key in ("ca_file", "cert_file", "key_file")),
    *(f"{section}.allowed_hosts" for section in ("client", "admin", "embedded_nsqd")),
    "embedded_nsqd.broadcast_address",
    *(f"{section}.token_{kind}" for section in ("client", "admin") for kind in ("env", "file")),
}


def settings_of(folder: Path, *overrides: str, text: str = "") -> Settings:
    file = folder / "config.toml"
    file.write_text(text)
    service = own_service(folder, list(overrides), str(file))
    assert service.arguments[:2] == ["--config", str(file)]
    return config.load(file, service.arguments[3::2])


def of_others(section: str) -> list[tuple[str, object]]:
    named = [(name.partition("."), value) for name, value in OTHERS.items()]
    return [(key, value) for (of, _, key), value in named if of == section]


def test_whatever_the_file_says_queue_client_and_folder_are_the_own_ones(tmp_path):
    text = "".join(
        f"[{section.name}]\n" + "".join(f"{key} = {value!r}\n" for key, value in of_others(section.name))
        for section in msgspec.structs.fields(Settings)
    )
    settings = settings_of(tmp_path, text=text)
    for key, others in OTHERS.items():
        assert value_of(settings, key) != others or not others, key
    assert settings.embedded
    assert publishes_to_client(settings)
    assert settings.supervisor.state_dir == str(tmp_path / "state")
    assert {settings.client.address, settings.admin.address, *settings.nsqd_addresses} == {ANY_PORT}


def test_a_topic_of_others_gets_no_publish(tmp_path):
    settings = settings_of(tmp_path, text='[publish]\nurl = ""\nnsq_topic = "totals"\n')
    assert settings.publish.sink_kind is SinkKind.URL
    assert publishes_to_client(settings)


def test_no_setting_that_leads_somewhere_is_forgotten():
    texts = {
        f"{section.name}.{key.name}"
        for section in msgspec.structs.fields(Settings)
        for key in msgspec.structs.fields(section.type)
        if isinstance(key.default, str | list) or key.default_factory is list
        if "Literal" not in str(key.type)
    }
    assert texts == OTHERS.keys() | WITHIN


def test_a_port_can_be_chosen_for_this_run_and_a_queue_can_not(tmp_path):
    chosen = settings_of(tmp_path, "client.address=127.0.0.1:18080", 'nsq.nsqd_tcp_addresses=["queue:4150"]')
    assert chosen.client.address == "127.0.0.1:18080"
    assert chosen.embedded


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_would_end_it_interrupts_it_and_one_that_is_ignored_stays_so(number):
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), interruptible():
            os.kill(os.getpid(), number)
            time.sleep(20)  # Python handles it in this call
        assert signal.getsignal(number) is signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN)
        with interruptible():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
