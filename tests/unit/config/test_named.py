"""A file or an environment variable that a setting names has to be there before anything starts."""

import os
import socket
from argparse import Namespace
from pathlib import Path

import msgspec
import pytest

from actors.cli import running
from actors.client.server import ReferenceClient
from actors.config import ConfigError, Settings, missing
from actors.config.loading import PATHS, load
from actors.config.secrets import auth_secret_of
from actors.config.sections import NsqSection
from actors.system.exits import Failure, StoreFailure

NAMING = [
    f"{section}.{key}"
    for section in Settings().__struct_fields__
    for key in getattr(Settings(), section).__struct_fields__
    if key.endswith(("_env", "_file"))
]


def settings_with(path, *overrides):
    """Settings of an empty file with these overrides."""
    file = path / "config.toml"
    file.touch()
    return load(file, overrides)


@pytest.mark.parametrize("key", NAMING)
def test_whatever_is_named_and_not_there_is_told_with_its_key(key, tmp_path):
    section, _, name = key.partition(".")
    part = msgspec.structs.replace(getattr(Settings(), section), **{name: "PLAYTALLY_NOT_THERE"})
    settings = msgspec.structs.replace(Settings(), **{section: part})
    (problem,) = missing(settings)
    assert problem.startswith(f"{key} = 'PLAYTALLY_NOT_THERE'")
    assert "expected" in problem or "set it where" in problem


def test_every_path_that_is_read_is_looked_for():
    written = {("supervisor", "state_dir"), ("client", "record")}
    assert {f"{section}.{key}" for section, key in set(PATHS) - written} <= set(NAMING)


def test_what_is_there_is_no_problem(tmp_path, monkeypatch):
    monkeypatch.setenv("PLAYTALLY_A", "a")
    monkeypatch.setenv("PLAYTALLY_B", "b")
    token = tmp_path / "token"
    token.write_text("t\n")
    found = settings_with(
        tmp_path,
        "publish.secret_env=PLAYTALLY_A, PLAYTALLY_B",
        f"publish.token_file={token}",
        f"client.record={tmp_path / 'record'}",
    )
    assert missing(found) == []


def test_all_problems_are_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PLAYTALLY_A", "a")
    monkeypatch.setenv("PLAYTALLY_B", "")
    (tmp_path / "empty").touch()
    found = settings_with(
        tmp_path,
        "publish.secret_env=PLAYTALLY_A,PLAYTALLY_B",
        f"publish.token_file={tmp_path / 'empty'}",
        f"publish.ca_file={tmp_path / 'no' / 'ca'}",
        f"client.record={tmp_path / 'no' / 'record'}",
    )
    problems = missing(found)
    assert [problem.split(" ")[0] for problem in problems] == [
        "publish.token_file",
        "publish.secret_env",
        "publish.ca_file",
        "client.record",
    ]
    assert "PLAYTALLY_A is" not in "".join(problems)


@pytest.mark.parametrize(
    "overrides",
    [
        ["publish.token_file={token}"],
        ["publish.secret_file={secret}", "publish.signature=standard"],
    ],
)
def test_a_secret_that_can_be_none_ends_a_run_before_it_starts(overrides, tmp_path, monkeypatch):
    names = {"token": tmp_path / "token", "secret": tmp_path / "secret"}
    names["token"].write_text("two words")
    names["secret"].write_text("whsec_*")
    found = settings_with(tmp_path, *(one.format(**names) for one in overrides))
    monkeypatch.setattr("actors.service.lifecycle.run", lambda *_: pytest.fail("it was started"))
    with pytest.raises(ConfigError) as caught:
        running.run(found, Namespace(insecure=False))
    assert len(caught.value.problems) == 1
    assert "words" not in str(caught.value) and "whsec_*" not in str(caught.value)


def test_a_secret_without_an_end_is_not_read_to_its_end(tmp_path):
    with pytest.raises(Failure, match=r"/dev/zero can't be read \(it is a device, expected a file\)"):
        auth_secret_of(NsqSection(auth_secret_file="/dev/zero"))
    (tmp_path / "secret").write_bytes(b"x" * 65537)
    with pytest.raises(Failure, match="secret has more than 65536 bytes; expected a file with the secret"):
        auth_secret_of(NsqSection(auth_secret_file=str(tmp_path / "secret")))


def others(tmp_path):
    """What is no file: by kind."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
    (tmp_path / "folder").mkdir()
    return {
        "a pipe": tmp_path / "pipe",
        "a socket": tmp_path / "socket",
        "a device": "/dev/null",
        "a folder": tmp_path / "folder",
    }


@pytest.mark.parametrize(
    "key", ["client.record", "publish.token_file", "nsq.tls_ca_file", "publish.secret_file"]
)
@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a device", "a folder"])
def test_what_is_no_file_is_refused_by_its_kind_and_nothing_waits_for_it(key, kind, tmp_path):
    path = others(tmp_path)[kind]
    section, _, name = key.partition(".")
    part = msgspec.structs.replace(getattr(Settings(), section), **{name: str(path)})
    (problem,) = missing(msgspec.structs.replace(Settings(), **{section: part}))
    assert problem.startswith(f"{key} = '{path}': ")
    assert f"is {kind}, expected a file" in problem


def test_a_client_alone_does_not_wait_for_a_pipe_to_record_in(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreFailure, match="pipe: it is a pipe, expected a file to record"):
        ReferenceClient.start(tmp_path, "127.0.0.1:0", record=tmp_path / "pipe")
    with pytest.raises(StoreFailure, match="/dev/null: it is a device, expected a file to record"):
        ReferenceClient.start(tmp_path, "127.0.0.1:0", record=Path("/dev/null"))
