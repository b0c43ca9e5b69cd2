"""A state is its owner's alone: wider modes are mended in one line, and another user's state is refused."""

import asyncio
import os
import shutil
import stat

import pytest

from actors.cli.checks.state import check_service, check_store
from actors.config import Settings
from actors.config.sections import SupervisorSection
from actors.store import folder
from actors.store.reshard import reshard
from actors.store.topic import accept_topic
from actors.system import ownership
from actors.system.exits import StoreFailure
from tests.support.needed import need_root

NOBODY = 65534


@pytest.fixture
def state_dir(tmp_path):
    """A state with files and folders of every kind, which every user may read."""
    state = tmp_path / "state"
    before = os.umask(0o022)
    try:
        folder.begin(str(state), 2)
        for name in ("client", "nsqd", "ledgers-2", "replaced-20260101T000000Z/nsqd"):
            (state / name).mkdir(parents=True)
            (state / name / "journal.sqlite").write_bytes(b"")
        (state / "service.log").write_text("of a service manager")
        yield state
    finally:
        os.umask(before)


def modes(state):
    """The modes of all files and of all folders."""
    found = {True: set(), False: set()}
    for path in [state, *state.rglob("*")]:
        if path.name != "service.log":
            found[path.is_dir()].add(stat.S_IMODE(path.stat().st_mode))
    return found


def test_wider_modes_are_mended_and_one_line_says_so(state_dir, caplog):
    (state_dir / "counter-0.sqlite").chmod(0o666)
    ownership.mend(state_dir)
    assert modes(state_dir) == {True: {0o700}, False: {0o600}}
    [line] = caplog.messages
    assert str(state_dir) in line
    assert "file mode 0644 -> 0600: " in line
    assert "file mode 0666 -> 0600: 1" in line
    assert "folder mode 0755 -> 0700: 6" in line
    ownership.mend(state_dir)
    assert len(caplog.messages) == 1


def test_what_is_not_ours_keeps_its_mode(state_dir):
    (state_dir / "elsewhere").write_text("")
    (state_dir / "client" / "link").symlink_to(state_dir / "elsewhere")
    ownership.mend(state_dir)
    for name in ("service.log", "elsewhere"):
        assert stat.S_IMODE((state_dir / name).stat().st_mode) == 0o644


@pytest.mark.parametrize(("mode", "more"), [(0o777, "Documents/"), (0o770, "Documents/")])
def test_a_folder_with_other_things_in_it_where_others_can_write_is_refused(state_dir, mode, more):
    state_dir.chmod(mode)
    if more.endswith("/"):
        (state_dir / more).mkdir()
    else:
        (state_dir / more).touch()
    with pytest.raises(StoreFailure) as refused:
        ownership.mend(state_dir)
    text = str(refused.value)
    assert text.startswith(
        f"{state_dir}: other users can write in it (mode {mode:04o}), and it has other things"
    )
    assert f"set supervisor.state_dir to a folder in it, such as {state_dir}/playtally, or " in text
    assert text.endswith(f"(chmod go-w {state_dir})")


@pytest.mark.parametrize("name", ["run", "nsqd", "client", "counter-0.sqlite"])
def test_another_users_link_with_a_name_of_ours_is_refused(state_dir, name, tmp_path):
    need_root()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(state_dir / name, ignore_errors=True)
    (state_dir / name).unlink(missing_ok=True)
    (state_dir / name).symlink_to(elsewhere)
    ownership.check_owner(state_dir)
    os.lchown(state_dir / name, NOBODY, -1)
    with pytest.raises(StoreFailure, match=f"{name} in it belong to the user "):
        ownership.check_owner(state_dir)


@pytest.mark.parametrize(("mode", "more"), [(0o755, "Documents/"), (0o750, "Documents/"), (0o1777, "a file")])
def test_a_folder_with_other_things_in_it_keeps_its_mode_and_the_files_are_mended(
    state_dir, mode, more, caplog
):
    state_dir.chmod(mode)
    if more.endswith("/"):
        (state_dir / more).mkdir()
    else:
        (state_dir / more).touch()
    ownership.mend(state_dir)
    assert stat.S_IMODE(state_dir.stat().st_mode) == mode
    assert stat.S_IMODE((state_dir / "counter-0.sqlite").stat().st_mode) == 0o600
    assert "has other things in it too, so the folder's mode stays" in caplog.messages[0]
    state_dir.chmod(0o700)
    caplog.clear()
    ownership.mend(state_dir)
    assert caplog.messages == []


def test_another_users_state_is_refused_in_words_and_left_as_it_is(state_dir, monkeypatch, tmp_path):
    before = modes(state_dir)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 4711)
    with pytest.raises(StoreFailure) as refused:
        ownership.check_owner(state_dir)
    text = str(refused.value)
    assert f"{state_dir}: belongs to {ownership._user(owner)}, expected the user {owner + 4711}, " in text
    assert "run this as that user" in text
    assert "supervisor.state_dir" in text
    for command in (lambda: accept_topic(str(state_dir), "views"), lambda: reshard(str(state_dir), 3)):
        with pytest.raises(StoreFailure, match="belongs to the user"):
            command()
    assert modes(state_dir) == before


def test_a_file_of_another_user_in_a_state_is_named(state_dir):
    need_root()
    os.chown(state_dir / "nsqd" / "journal.sqlite", NOBODY, -1)
    with pytest.raises(StoreFailure) as refused:
        ownership.check_owner(state_dir)
    text = str(refused.value)
    assert f"{state_dir}: nsqd/journal.sqlite in it belong to the user " in text
    assert f"belong to {ownership._user(NOBODY)}, expected the user " in text


def test_a_folder_that_is_not_there_is_nobodys(tmp_path):
    ownership.check_owner(tmp_path / "not" / "there")


UNREACHABLE = {
    "check": lambda state_dir: check_store(settings_of(state_dir)),
    "reshard": lambda state_dir: reshard(state_dir, 3),
    "accept-topic": lambda state_dir: accept_topic(state_dir, "plays"),
}


def settings_of(state_dir):
    return Settings(supervisor=SupervisorSection(state_dir=state_dir))


@pytest.mark.parametrize("command", UNREACHABLE)
def test_a_state_that_can_not_be_reached_is_refused_in_words(command, tmp_path):
    state_dir = tmp_path / ("x" * 300) / "state"  # too long a name: not even root can reach it
    try:
        said = str(UNREACHABLE[command](str(state_dir)))
    except StoreFailure as failure:
        said = str(failure)
    assert f"{state_dir}: cannot be reached (File name too long), expected a folder of the user" in said


def test_a_child_that_can_not_reach_its_state_says_so(tmp_path):
    state_dir = str(tmp_path / ("x" * 300))
    with pytest.raises(
        StoreFailure, match=r"cannot be read \(File name too long\), see supervisor\.state_dir"
    ):
        folder.claim(state_dir, 2)


def test_a_command_that_may_not_read_another_users_state_says_whose_it_is(state_dir, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folder, "open_regular", refuse)
    with pytest.raises(StoreFailure, match=r"ledgers\.json: cannot be read .Permission denied.") as caught:
        folder.find(state_dir)
    assert "delete" not in str(caught.value)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with pytest.raises(StoreFailure, match=r"belongs to .* expected the user") as caught:
        folder.find(state_dir)
    assert "delete" not in str(caught.value)
    settings = Settings(supervisor=SupervisorSection(state_dir=str(state_dir)))
    assert "can't be seen by this user" in asyncio.run(check_service(settings)).found


def test_another_users_link_on_the_way_to_the_state_is_refused(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    ownership.check_owner(tmp_path / "link" / "state")
    lstat = os.lstat

    def as_seen(path, **more):
        found = lstat(path, **more)
        others = stat.S_ISLNK(found.st_mode)
        return os.stat_result([*found[:4], NOBODY if others else found[4], *found[5:]])

    monkeypatch.setattr(os, "lstat", as_seen)
    for folder_there in ("link", "link/state"):
        with pytest.raises(
            StoreFailure, match=r"link: is a link of the user .*, who could lead it elsewhere"
        ):
            ownership.check_owner(tmp_path / folder_there)


@pytest.mark.parametrize(("mode", "warned"), [(0o777, True), (0o1777, False), (0o755, False), (0o775, False)])
def test_a_folder_above_the_state_where_every_user_can_write_is_said(tmp_path, caplog, mode, warned):
    above = tmp_path / "above"
    (above / "state").mkdir(parents=True, mode=0o700)
    above.chmod(mode)
    ownership.mend(above / "state")
    assert (f"{above}: every user can write in this folder above the state" in caplog.text) == warned


def test_the_lost_and_found_of_a_file_system_is_of_nobody(tmp_path):
    need_root()
    (tmp_path / "lost+found").mkdir()
    os.chown(tmp_path / "lost+found", 65534, 65534)
    ownership.check_owner_of(tmp_path)
    (tmp_path / "other").mkdir()
    os.chown(tmp_path / "other", 65534, 65534)
    with pytest.raises(StoreFailure, match="other: belongs to"):
        ownership.check_owner_of(tmp_path)
