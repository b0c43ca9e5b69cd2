"""A config.toml that nobody named is obeyed only if no other user can have written it."""

import os
from pathlib import Path

import pytest

from actors.config import ConfigError, load
from actors.system.ownership import why_untrusted
from tests.support.needed import need_root

NOBODY = 65534


@pytest.fixture
def found(tmp_path, monkeypatch):
    """A config.toml in the working directory."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config.toml"
    file.write_text("[nsq]\ntopic = 'views'\n")
    file.chmod(0o664)
    return file


def refusal():
    """The only line that it is refused with."""
    with pytest.raises(ConfigError) as caught:
        load()
    (line,) = caught.value.problems
    return line


def test_one_of_this_user_is_obeyed_whatever_its_group_may_do(found):
    assert load().nsq.topic == "views"


def test_one_that_every_user_can_write_is_refused_if_nobody_named_it(found):
    found.chmod(0o666)
    assert refusal() == (
        f"{found}: every user can write in it (mode 0666), expected a file that no other user can write in: "
        f"take that right from them (chmod o-w {found}), or name it: --config {found}"
    )
    assert load(found).nsq.topic == load("config.toml").nsq.topic == "views"


def test_one_of_another_user_is_refused_if_nobody_named_it(found, tmp_path):
    need_root()
    os.chown(found, NOBODY, NOBODY)
    line = refusal()
    assert line.startswith(f"{found}: belongs to the user nobody ({NOBODY}), expected ")
    assert line.endswith(f"or, if you trust its owner, name it: --config {found}")
    assert load(found).nsq.topic == "views"
    found.rename(tmp_path / "theirs")
    found.symlink_to(tmp_path / "theirs")
    assert "belongs to" in refusal()
    (tmp_path / "theirs").chmod(0o644)
    os.chown(tmp_path / "theirs", 0, 0)
    assert load().nsq.topic == "views"
    os.chown(found, NOBODY, NOBODY, follow_symlinks=False)
    assert "belongs to" in refusal()


@pytest.mark.parametrize("kind", ["leads nowhere", "leads to itself", "folder", "pipe", "link to a device"])
def test_what_is_no_file_is_refused_and_not_passed_over(found, kind):
    found.unlink()
    match kind:
        case "folder":
            found.mkdir()
        case "pipe":
            os.mkfifo(found)
        case _:
            found.symlink_to(
                {"leads nowhere": "nowhere", "leads to itself": "config.toml"}.get(kind, "/dev/stdin")
            )
    assert refusal().startswith(f"{found}: ")
    assert load(os.devnull).nsq.topic == "plays"


def test_roots_is_obeyed_by_every_user():
    assert why_untrusted(Path("/etc/passwd")) == ""


def test_that_of_the_checkout_is_obeyed_by_whoever_runs_its_code(monkeypatch, tmp_path):
    need_root()
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config.toml"
    file.write_text("[nsq]\ntopic = 'views'\n")
    os.chown(file, NOBODY, NOBODY)
    monkeypatch.setattr("actors.config.loading.PROJECT_FILE", file)
    assert load().nsq.topic == "views"
