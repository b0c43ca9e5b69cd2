"""Settings: every problem at once, each with its key, its value and what was expected."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from actors import config
from actors.config import PROJECT_FILE, ConfigError, Settings, explain, load
from actors.system.installation import ROOT

# Sections and settings of which INTERFACE promises these defaults.
PROMISED = {
    "nsq.topic": "plays",
    "nsq.channel": "playtally",
    "nsq.nsqd_tcp_addresses": [],
    "nsq.lookupd_http_addresses": [],
    "nsq.max_in_flight": 2500,
    "embedded_nsqd.tcp_address": "127.0.0.1:4150",
    "embedded_nsqd.http_address": "127.0.0.1:4151",
    "counters.shards": 2,
    "counters.synchronous": "NORMAL",
    "counters.dedupe_window_s": 3600,
    "dispatch.realtime_below": 100,
    "dispatch.deadline_s": 60,
    "dispatch.batch_size_max": 20,
    "dispatch.realtime": "coalesce",
    "dispatch.realtime_linger_ms": 0,
    "dispatch.overdue_linger_ms": 1000,
    "publish.url": "http://127.0.0.1:8080/plays",
    "publish.stdout": True,
    "publish.timeout_s": 10,
    "publish.secret_env": "",
    "publish.nsq_topic": "",
    "publish.rate_max_per_s": 0,
    "client.enabled": True,
    "client.address": "127.0.0.1:8080",
    "client.record": "",
    "admin.address": "127.0.0.1:8081",
    "supervisor.strategy": "one_for_one",
    "supervisor.max_restarts": 5,
    "supervisor.max_seconds": 10,
    "supervisor.liveness_timeout_s": 10,
    "supervisor.shutdown_timeout_s": 10,
}


@pytest.fixture
def file(tmp_path):
    """Write a config file; its path."""

    def write(text=""):
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def value_of(settings, key):
    section, _, name = key.partition(".")
    return getattr(getattr(settings, section), name)


@pytest.mark.parametrize("key", PROMISED)
def test_an_empty_file_keeps_the_promised_defaults(file, key):
    assert value_of(load(file()), key) == PROMISED[key]


def test_the_projects_own_file_names_every_setting_with_its_default():
    """The commented file is the reference, and the code is held against it."""
    named = tomllib.loads(PROJECT_FILE.read_text(encoding="utf-8"))
    defaults = msgspec.to_builtins(Settings())
    assert named.keys() == defaults.keys()
    for section in named:
        assert named[section] == defaults[section], f"[{section}]"


def test_a_file_changes_what_it_names_and_keeps_the_rest(file):
    settings = load(file("[dispatch]\ndeadline_s = 2.5\n[nsq]\ntopic = 'views'\n"))
    assert settings.dispatch.deadline_s == 2.5
    assert settings.nsq.topic == "views"
    assert settings.dispatch.batch_size_max == 20


def test_an_override_goes_over_the_file(file):
    path = file("[dispatch]\ndeadline_s = 2.5\n")
    assert load(path, ["dispatch.deadline_s=7"]).dispatch.deadline_s == 7
    assert load(path, ["dispatch.deadline_s=7", "dispatch.deadline_s=8"]).dispatch.deadline_s == 8


def test_every_problem_is_reported_at_once_with_key_value_and_what_is_expected(file):
    found = problems(
        file(
            "[nsq]\ntopic = 1\nnope = 2\nmax_in_flight = true\nnsqd_tcp_addresses = 'a:1'\n"
            "[dispatch]\nbatch_size_max = 50\nrealtime = 'often'\n"
            "[oops]\nx = 1\n"
            "[client]\nenabled = 1\n"
            "[admin]\naddress = '127.0.0.1:70000'\n"
        ),
        "counters.shards=0",
        "dispatch.deadline_s=nan",
        "nsq",
        "counters.nope=1",
        "foo.bar=1",
    )
    wanted = [
        ("config.toml", "nsq.topic = 1,", "expected 1 to 59 of"),
        ("config.toml", "nsq.nope", "expected one of topic, channel"),
        ("config.toml", "nsq.max_in_flight = True,", "expected a whole number, 1 to 1000000"),
        ("config.toml", "nsq.nsqd_tcp_addresses = 'a:1',", 'expected a list, each "host:port"'),
        ("config.toml", "dispatch.batch_size_max = 50,", "expected a whole number, 1 to 20"),
        ("config.toml", "dispatch.realtime = 'often',", 'expected "coalesce" or "every_play"'),
        ("config.toml", "[oops]", "expected one of nsq, "),
        ("config.toml", "client.enabled = 1,", "expected true or false"),
        ("config.toml", "admin.address = '127.0.0.1:70000',", "a port of 0 to 65535"),
        ("--set", "counters.shards = 0,", "expected a whole number, 1 to 64"),
        ("--set", "dispatch.deadline_s = nan,", "expected a number, 0.1 to 86400"),
        ("--set", "'nsq'", "expected SECTION.KEY=VALUE"),
        ("--set", "counters.nope", "expected one of shards, synchronous"),
        ("--set", "'foo'", "expected one of nsq, "),
    ]
    assert len(found) == len(wanted)
    for facts in wanted:
        assert any(all(fact in line for fact in facts) for line in found), facts


def test_what_is_right_alone_and_cannot_go_together_is_a_problem(file):
    found = problems(
        file(
            "[publish]\nurl = ''\nstdout = false\n"
            "[dispatch]\ndeadline_s = 1\nrealtime_linger_ms = 1500\n"
            "[admin]\naddress = '127.0.0.1:8080'\n"
        )
    )
    assert len(found) == 3
    assert any('publish.url = ""' in line and "publish.stdout = false" in line for line in found)
    assert any("realtime_linger_ms = 1500" in line and "deadline_s = 1" in line for line in found)
    assert any("client.address" in line and "admin.address" in line for line in found)


def test_two_listeners_may_both_ask_for_any_free_port(file):
    load(file(), ["admin.address=127.0.0.1:0", "client.address=127.0.0.1:0"])


def test_a_listener_that_is_not_used_takes_no_address(file):
    load(file(), ["client.enabled=false", "admin.address=127.0.0.1:8080"])
    load(file(), ["nsq.nsqd_tcp_addresses=a:4150", "admin.address=127.0.0.1:4150"])


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("nsq.topic=views", "views"),
        ('nsq.topic="views"', "views"),
        ("nsq.topic='views'", "views"),
        ("nsq.topic=123", "123"),
        ("nsq.topic=true", "true"),
        (" nsq.topic = views ", "views"),
        ("nsq.nsqd_tcp_addresses=a:1, b:2", ["a:1", "b:2"]),
        ('nsq.nsqd_tcp_addresses=["a:1", "b:2"]', ["a:1", "b:2"]),
        ("nsq.nsqd_tcp_addresses=[]", []),
        ("nsq.nsqd_tcp_addresses=", []),
        ("nsq.lookupd_http_addresses=http://a:4161/", ["http://a:4161/"]),
        ("nsq.max_in_flight=1_000", 1000),
        ("dispatch.deadline_s=2", 2.0),
        ("dispatch.deadline_s=2.5", 2.5),
        ("dispatch.realtime=every_play", "every_play"),
        ('dispatch.realtime="every_play"', "every_play"),
        ("publish.stdout=false", False),
        ("publish.url=", ""),
        ('publish.url=""', ""),
        ("publish.url=http://h:1/a?b=c", "http://h:1/a?b=c"),
        ("admin.address=[::1]:9", "[::1]:9"),
        ("counters.synchronous=FULL", "FULL"),
    ],
)
def test_the_value_of_an_override_has_the_type_of_its_setting(file, override, value):
    found = value_of(load(file(), [override]), override.partition("=")[0].strip())
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "override",
    [
        "nsq.topic=a b",
        "nsq.topic=",
        "nsq.topic=" + "x" * 60,
        "nsq.channel=a/b",
        "nsq.topic=x\ny = 1",
        "nsq.nsqd_tcp_addresses=a",
        'nsq.nsqd_tcp_addresses=["a:1", 5]',
        "nsq.max_in_flight=0",
        "nsq.max_in_flight=1.5",
        "nsq.max_in_flight=many",
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
        "client.address=8080",
        "client.address=:8080",
        "client.address=a:b",
        "admin.address=::1:9",
        "admin.address=a:65536",
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


def test_a_file_that_is_not_there_is_a_problem_with_its_path(tmp_path):
    (line,) = problems(tmp_path / "none.toml")
    assert str(tmp_path / "none.toml") in line
    assert "expected a config file" in line


@pytest.mark.parametrize("content", [b"x = ", b"[nsq\n", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_file_that_is_not_toml_is_a_problem_with_its_path(tmp_path, content):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    (line,) = problems(path)
    assert str(path) in line
    assert "is not TOML" in line


def test_a_broken_file_does_not_hide_the_problems_of_overrides(tmp_path):
    assert len(problems(tmp_path / "none.toml", "nsq.topic=a b", "x")) == 3


@pytest.mark.parametrize("text", ["nsq = 1", "[[nsq]]\ntopic = 'a'", "topic = 'a'"])
def test_what_is_no_section_is_refused(file, text):
    (line,) = problems(file(text))
    assert "expected one of nsq" in line


def test_the_state_folder_of_a_file_is_meant_from_where_the_file_is(file, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    path = file("[supervisor]\nstate_dir = 'there'\n")
    assert load(path).supervisor.state_dir == str((tmp_path / "there").resolve())
    typed = load(path, ["supervisor.state_dir=here"]).supervisor.state_dir
    assert typed == str((elsewhere / "here").resolve())


def test_without_a_path_the_file_in_the_current_folder_is_read_else_the_projects(file, monkeypatch):
    path = file("[nsq]\ntopic = 'from_here'\n")
    monkeypatch.chdir(path.parent)
    assert load().nsq.topic == "from_here"
    assert load().supervisor.state_dir == str((path.parent / "state").resolve())
    path.unlink()
    assert load().nsq.topic == "plays"
    assert load().supervisor.state_dir == str(PROJECT_FILE.parent / "state")


def test_installed_by_pip_every_default_holds_and_paths_are_meant_from_the_current_folder(
    file, monkeypatch, tmp_path
):
    monkeypatch.setattr(config, "INSTALLED", True)
    monkeypatch.chdir(tmp_path)
    assert config.find() is None
    assert load().supervisor.state_dir == str((tmp_path / "state").resolve())
    assert {one.source for one in explain()} == {"default"}
    file("[nsq]\ntopic = 'from_here'\n")
    assert load().nsq.topic == "from_here"


@pytest.mark.parametrize(
    ("section", "key"), [("supervisor", "state_dir"), ("publish", "ca_file"), ("client", "record")]
)
def test_a_path_is_meant_from_where_the_file_was_named_not_from_where_a_link_leads(tmp_path, section, key):
    real, named = tmp_path / "real", tmp_path / "named"
    real.mkdir()
    named.mkdir()
    (real / "other.toml").write_text(f"[{section}]\n{key} = 'there'\n")
    link = named / "config.toml"
    link.symlink_to(real / "other.toml")
    assert value_of(load(link), f"{section}.{key}") == str((named / "there").resolve())


def test_a_folder_above_a_link_to_a_folder_is_where_the_system_finds_it(tmp_path, monkeypatch):
    """`link/../config.toml` is not `config.toml`, when the link leads elsewhere."""
    deep = tmp_path / "real" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "link").symlink_to(deep)
    (tmp_path / "real" / "config.toml").write_text("[nsq]\ntopic = 'views'\n")
    monkeypatch.chdir(tmp_path)
    settings = load("link/../config.toml")
    assert settings.nsq.topic == "views"
    assert settings.supervisor.state_dir == str((tmp_path / "real" / "state").resolve())


def test_paths_in_a_pipe_are_meant_from_the_current_folder_and_it_is_read_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reads, writes = os.pipe()
    with open(reads, "rb"), open(writes, "wb") as pipe:
        pipe.write(b"[nsq]\ntopic = 'piped'\n")
        pipe.close()
        path = f"/dev/fd/{reads}"
        assert load(path).supervisor.state_dir == str((tmp_path / "state").resolve())
        assert {one.key: one.value for one in explain(path)}["nsq.topic"] == "piped"
    config._text_of_stream.cache_clear()


def test_paths_in_a_file_that_is_standard_input_are_meant_from_the_current_folder(file, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    with open(file("[nsq]\ntopic = 'views'\n"), "rb") as stdin:
        words = [sys.executable, str(ROOT / "supervisor.py"), "config", "--json", "--config", "/dev/stdin"]
        result = subprocess.run(words, cwd=here, stdin=stdin, capture_output=True, text=True, check=True)
    found = {one["key"]: one for one in json.loads(result.stdout)}
    assert (found["nsq.topic"]["value"], found["nsq.topic"]["source"]) == ("views", "/dev/stdin")
    assert found["supervisor.state_dir"]["value"] == str((here / "state").resolve())


def test_a_current_folder_that_is_gone_is_a_problem_only_where_it_is_needed(file, tmp_path, monkeypatch):
    path = file("[supervisor]\nstate_dir = 'there'\n")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load(path).supervisor.state_dir == str((tmp_path / "there").resolve())
    for relative in (lambda: load("config.toml"), lambda: load(path, ["supervisor.state_dir=here"])):
        with pytest.raises(ConfigError, match="the working directory is gone, expected one that is there"):
            relative()


def test_it_is_explained_where_each_value_came_from(file):
    found = {one.key: one for one in explain(file("[nsq]\ntopic = 'views'\n"), ["dispatch.deadline_s=9"])}
    assert (found["nsq.topic"].value, found["nsq.topic"].source) == ("views", "config.toml")
    assert found["dispatch.deadline_s"].source == "--set"
    assert found["dispatch.deadline_s"].unit == "s"
    assert found["nsq.channel"].source == "default"
    known = {
        f"{section.name}.{key.name}"
        for section in msgspec.structs.fields(Settings)
        for key in msgspec.structs.fields(section.type)
    }
    assert found.keys() == known
    assert all(one.expected for one in found.values())


def test_the_embedded_queue_is_used_when_no_nsqd_is_named(file):
    assert load(file()).embedded
    assert not load(file(), ["nsq.nsqd_tcp_addresses=a:1"]).embedded
    assert not load(file(), ["nsq.lookupd_http_addresses=a:1"]).embedded


@pytest.fixture(scope="module")
def empty_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_text("")
    return path


@hypothesis_settings(deadline=None)
@given(st.sampled_from([*PROMISED, "nsq", "", ".", "a.b"]), st.text(max_size=30))
def test_any_text_as_an_override_is_a_setting_or_a_problem(empty_file, key, text):
    try:
        settings = load(empty_file, [f"{key}={text}"])
    except ConfigError as error:
        assert len(error.problems) >= 1
        assert all("expected" in line for line in error.problems)
    else:
        assert isinstance(settings, Settings)


@hypothesis_settings(deadline=None)
@given(st.binary(max_size=120))
def test_any_bytes_as_a_file_are_settings_or_problems(empty_file, content):
    path = Path(empty_file).with_name("any.toml")
    path.write_bytes(content)
    try:
        config.load(path)
    except ConfigError as error:
        assert error.problems


# Where publishes go: one client


def test_a_url_and_a_topic_cannot_both_be_the_client(file):
    (problem,) = problems(file(), "publish.nsq_topic=totals")
    assert problem.startswith("publish.url = 'http://127.0.0.1:8080/plays' and publish.nsq_topic = 'totals'")
    assert 'expected one of them: set publish.url = ""' in problem
    assert load(file(), ["publish.nsq_topic=totals", "publish.url="]).publish.nsq_topic == "totals"


@pytest.mark.parametrize("topic", ["plays", "plays.dead"])
def test_publishes_do_not_go_where_plays_come_from(file, topic):
    (problem,) = problems(file(), f"publish.nsq_topic={topic}", "publish.url=")
    assert "publishes would be taken for plays" in problem


def test_a_message_has_no_place_for_a_signature(file):
    (problem,) = problems(file(), "publish.nsq_topic=totals", "publish.url=", "publish.secret_env=S")
    assert "a message has no header for a signature" in problem


@pytest.mark.parametrize("url", ["example.org/plays", "127.0.0.1:8080/plays", "//example.org", "ftp://x/"])
def test_a_url_without_its_scheme_is_told_what_is_missing(file, url):
    (problem,) = problems(file(), f"publish.url={url}")
    assert problem == f'--set: publish.url = \'{url}\', expected "" or "http://…" or "https://…"'


@pytest.mark.parametrize("proxy", ["environment", "", "http://proxy:3128", "http://me:you@proxy:3128/"])
def test_a_proxy_is_the_environments_none_or_one(file, proxy):
    assert load(file(), [f"publish.proxy={proxy}"]).publish.proxy == proxy
    assert problems(file(), f"publish.proxy=x{proxy}")


def test_a_certificate_file_is_meant_from_where_the_config_file_is(file, tmp_path):
    settings = load(file('[publish]\nca_file = "ca.pem"\n'))
    assert settings.publish.ca_file == str((tmp_path / "ca.pem").resolve())
    assert load(file()).publish.ca_file == ""
