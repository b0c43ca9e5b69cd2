"""Every setting: its default, and what it refuses."""

import tomllib

import msgspec
import pytest

from actors.config import PROJECT_FILE, PublishSection, Settings, SinkKind, load
from tests.support.config_problems import problems, value_of
from tests.support.interface import DEFAULTS


# Where the state folder is, is asked in test_paths.py.
@pytest.mark.parametrize("key", sorted(DEFAULTS.keys() - {"supervisor.state_dir"}))
def test_an_empty_file_keeps_the_promised_defaults(file, key):
    assert value_of(load(file()), key) == DEFAULTS[key]


def test_the_projects_own_file_names_every_setting_with_its_default():
    """The commented file is the reference, and the code is held against it."""
    named = tomllib.loads(PROJECT_FILE.read_text(encoding="utf-8"))
    defaults = msgspec.to_builtins(Settings())
    assert named.keys() == defaults.keys()
    for section in named:
        assert named[section] == defaults[section], f"[{section}]"


@pytest.mark.parametrize(
    "override",
    [
        "nsq.topic=a b",
        "nsq.topic=",
        "nsq.topic=" + "x" * 60,
        "nsq.channel=a/b",
        "nsq.topic=x\ny = 1",
        "nsq.nsqd_tcp_addresses=a",
        "nsq.nsqd_tcp_addresses=a:0",
        "nsq.lookupd_http_addresses=a",
        "nsq.lookupd_http_addresses=ftp://a:4161",
        "nsq.lookupd_http_addresses=http://a:65536",
        "nsq.lookupd_http_addresses=http://a:4161#b",
        'nsq.lookupd_http_addresses=["https://a b"]',
        "nsq.lookupd_http_addresses=http://",
        'nsq.nsqd_tcp_addresses=["a:1", 5]',
        "nsq.nsqd_http_addresses=[4151]",
        'nsq.nsqd_http_addresses=["4151"]',
        'nsq.nsqd_http_addresses=["ftp://a:4151"]',
        'nsq.nsqd_http_addresses=["a"]',
        'nsq.nsqd_http_addresses=["http://a:4151/stats"]',
        'nsq.nsqd_http_addresses=["a:65536"]',
        "nsq.consumers=0",
        "nsq.consumers=17",
        "nsq.max_in_flight=0",
        "nsq.max_in_flight=1.5",
        "nsq.max_in_flight=many",
        "nsq.tls=1",
        "nsq.tls_server_name=a b",
        "nsq.tls_server_name=nsqd:4150",
        "nsq.tls_verify=maybe",
        "nsq.auth_secret_env=A B",
        "nsq.auth_secret_env=A,B",
        "nsq.compression=gzip",
        "nsq.play_id=an id",
        "nsq.play_id=meta.id",
        "nsq.play_id=größe",
        "nsq.play_id=" + "x" * 65,
        'nsq.play_id="id\\n"',
        "counters.shards=1.5",
        "counters.shards=65",
        "counters.shards=2024-01-01",
        "counters.synchronous=OFF",
        "counters.synchronous=full",
        "dispatch.deadline_s=0",
        "dispatch.deadline_s=inf",
        "dispatch.deadline_s=" + "9" * 400,
        "dispatch.batch_size_max=0",
        "dispatch.batch_size_max=21",
        "publish.url=ftp://x",
        "publish.url=http://",
        "publish.stdout=no",
        "publish.timeout_s=0",
        "publish.secret_env=A B",
        "publish.secret_env=A,",
        "publish.secret_env=A,B,C",
        "publish.secret_file=a,b,c",
        "publish.token_env=A,B",
        "publish.signature=header",
        "client.address=8080",
        "client.address=:8080",
        "client.address=a:b",
        "admin.address=::1:9",
        "admin.address=a:65536",
        "admin.allowed_hosts=a b",
        'admin.allowed_hosts=["ops.example.org:8081"]',
        'admin.allowed_hosts=["http://ops.example.org"]',
        'client.allowed_hosts=["*"]',
        'client.allowed_hosts=[""]',
        "embedded_nsqd.allowed_hosts=[5]",
        "embedded_nsqd.broadcast_address=a b",
        "embedded_nsqd.broadcast_address=a:4150",
        "embedded_nsqd.broadcast_address=http://a",
        "supervisor.strategy=all",
        "supervisor.max_restarts=-1",
        "supervisor.max_seconds=0",
        "supervisor.state_dir=",
    ],
)
def test_a_value_that_can_not_be_is_refused_with_its_key(file, override):
    (line,) = problems(file(), override)
    key = override.partition("=")[0]
    assert line.startswith("--set")
    assert key in line
    assert "expected" in line


@pytest.mark.parametrize(
    "address", ["a:4151", "10.0.0.5:4151", "[::1]:4151", "http://a:4151", "https://nsqd.example.org:4152/"]
)
def test_the_http_of_an_nsqd_is_a_host_and_a_port_or_a_url_of_them(file, address):
    lists = ["nsq.nsqd_tcp_addresses=a:4150", f'nsq.nsqd_http_addresses=["{address}"]']
    assert load(file(), lists).nsq.nsqd_http_addresses == [address]


@pytest.mark.parametrize("host", ["a", "ops.example.org.", "10.0.0.5", "::1", "[2001:db8::5]"])
def test_an_allowed_host_is_a_name_or_an_address_without_a_port(file, host):
    assert load(file(), [f'admin.allowed_hosts=["{host}"]']).admin.allowed_hosts == [host]


@pytest.mark.parametrize("host", ["", "a", "ops.example.org.", "10.0.0.5", "::1", "[2001:db8::5]"])
def test_a_broadcast_address_is_a_name_or_an_address_without_a_port_or_nothing(file, host):
    set_to = load(file(), [f'embedded_nsqd.broadcast_address="{host}"'])
    assert set_to.embedded_nsqd.broadcast_address == host


@pytest.mark.parametrize("url", ["example.org/plays", "127.0.0.1:8080/plays", "//example.org", "ftp://x/"])
def test_a_url_without_its_scheme_is_told_what_is_missing(file, url):
    (problem,) = problems(file(), f"publish.url={url}")
    assert problem == f'--set: publish.url = \'{url}\', expected "" or "http://…" or "https://…"'


@pytest.mark.parametrize("proxy", ["environment", "", "http://proxy:3128", "http://me:you@proxy:3128/"])
def test_a_proxy_is_the_environments_none_or_one(file, proxy):
    assert load(file(), [f"publish.proxy={proxy}"]).publish.proxy == proxy
    assert problems(file(), f"publish.proxy=x{proxy}")


def test_the_embedded_queue_is_used_when_no_nsqd_is_named(file):
    assert load(file()).embedded
    assert not load(file(), ["nsq.nsqd_tcp_addresses=a:1"]).embedded
    assert not load(file(), ["nsq.lookupd_http_addresses=a:1"]).embedded


@pytest.mark.parametrize(
    ("publish", "kind"),
    [
        (PublishSection(), SinkKind.URL),
        (PublishSection(stdout=False), SinkKind.URL),
        (PublishSection(url=""), SinkKind.STDOUT),
        (PublishSection(url="", nsq_topic="totals"), SinkKind.NSQ_TOPIC),
        (PublishSection(url="", nsq_topic="totals", stdout=False), SinkKind.NSQ_TOPIC),
    ],
)
def test_the_topic_or_the_url_confirms_a_publish_and_else_stdout(publish, kind):
    assert publish.sink_kind is kind
