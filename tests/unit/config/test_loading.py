"""Settings: every problem at once, each with its key, its value and what was expected."""

import os
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from actors import config
from actors.config import ConfigError, Settings, explain, load
from actors.config.text import BYTES_MAX
from tests.support.config_problems import problems, value_of

KEYS = [
    f"{section.name}.{key.name}"
    for section in msgspec.structs.fields(Settings)
    for key in msgspec.structs.fields(section.type)
]


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
        ("nsq.lookupd_http_addresses=https://u:p@a/b/c?d=e&f", ["https://u:p@a/b/c?d=e&f"]),
        ("nsq.lookupd_http_addresses=[::1]:4161, a:4161/b?c", ["[::1]:4161", "a:4161/b?c"]),
        ("nsq.nsqd_tcp_addresses=[::ffff:10.0.0.5]:4150", ["[::ffff:10.0.0.5]:4150"]),
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nsq = 1", "nsq = 1, expected the section [nsq]"),
        ("[[nsq]]\ntopic = 'a'", "[[nsq]], expected the section [nsq]"),
        ("topic = 'a'", "topic = 'a' before the first section, expected it under [nsq]"),
        ("max_restarts = 1", "expected it under [supervisor] or [counters_supervisor]"),
        ("nope = 1", "unknown key nope before the first section, expected a section: one of nsq"),
        ("[[nope]]", "unknown section [nope], expected one of nsq"),
    ],
)
def test_what_is_no_section_is_refused_and_what_is_meant_is_named(file, text, expected):
    (line,) = problems(file(text))
    assert line.startswith("config.toml: ")
    assert expected in line


def test_a_byte_order_mark_before_the_text_is_left_out(tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf[nsq]\r\ntopic = 'views'\r\n")
    assert load(path).nsq.topic == "views"


TEXT = "[nsq]\n# caf\u00e9\ntopic = 'views'\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TEXT.encode("utf-16"), "it is UTF-16, expected UTF-8: save it as UTF-8"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "it is UTF-16, expected UTF-8: save it as UTF-8"),
        (TEXT.encode("utf-16-le"), "it has NUL bytes, as UTF-16 has, expected UTF-8: save it as UTF-8"),
        (TEXT.encode("latin-1"), "line 2 has the byte 0xe9, which is not UTF-8 (is it Latin-1?), expected"),
    ],
)
def test_a_file_in_another_encoding_is_a_problem_that_says_what_to_do(tmp_path, content, expected):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    (line,) = problems(path)
    assert f"{path}: is not TOML that can be read: {expected}" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[nsq]\ntopic = 'a'\n[client]\n[nsq]\nchannel = 'b'\n",
            "[nsq] is there twice (at line 4, column 5)",
        ),
        ("[nsq]\ntopic = 'a'\ntopic = 'b'\n", "nsq.topic is there twice (at line 3, column 12)"),
        ("topic = 'a'\ntopic = 'b'\n", "topic is there twice (at line 2, column 12)"),
        ("[nsq.a]\n[nsq.a]\n", "[nsq.a] is there twice (at line 2, column 7)"),
    ],
)
def test_what_is_there_twice_is_named(file, text, expected):
    (line,) = problems(file(text))
    assert line.endswith(f"is not TOML that can be read: {expected}")


@pytest.mark.parametrize("name", ["config.toml", "/dev/zero"])
def test_a_file_without_an_end_is_not_read_to_its_end(tmp_path, name):
    path = tmp_path / name  # an absolute name stays as it is
    if not path.exists():
        path.write_bytes(b"#" * (BYTES_MAX + 1))
    (line,) = problems(path)
    assert line == f"{path}: is not TOML that can be read: it has more than 1 MiB, expected a config file"


def test_a_named_pipe_is_read_as_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writing = threading.Thread(target=path.write_text, args=("[nsq]\ntopic = 'views'\n",))
    writing.start()
    assert load(path).nsq.topic == "views"
    writing.join()
    assert {one.key: one.value for one in explain(path)}["nsq.topic"] == "views"


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


@hypothesis_settings(deadline=None)
@given(st.sampled_from([*KEYS, "nsq", "", ".", "a.b"]), st.text(max_size=30))
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


def test_a_state_folder_with_a_newline_is_refused_for_that(file):
    (line,) = problems(file('[supervisor]\nstate_dir = "a\\nb"'))
    assert line.endswith("expected the path of a folder, in one line")
