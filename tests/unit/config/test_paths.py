"""Where the config file is found, and what the paths in it are relative to."""

import json
import os
import subprocess
import sys

import pytest

from actors import config
from actors.config import PROJECT_FILE, ConfigError, explain, load, loading, text
from actors.system.installation import ROOT
from tests.support.config_problems import value_of


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
    monkeypatch.setattr(loading, "INSTALLED", True)
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
    text._text_of_stream.cache_clear()


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


def test_a_certificate_file_is_meant_from_where_the_config_file_is(file, tmp_path):
    settings = load(file('[publish]\nca_file = "ca.pem"\n'))
    assert settings.publish.ca_file == str((tmp_path / "ca.pem").resolve())
    assert load(file()).publish.ca_file == ""
