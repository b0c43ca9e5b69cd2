"""The action log: what is in it after a kill, a full disk, a damaged line, and a million actions."""

import json
import os
import subprocess
import sys

import pytest

from actors.service import action_log
from actors.service.action_log import BYTES_MAX, CHARACTERS_MAX, NAME, OLDER, SHOWN_MAX, ActionLog
from actors.system.installation import ROOT


def loaded(folder):
    one = ActionLog(folder)
    one.load()
    return one


def shown(one):
    return [action["action"] for action in one.newest_first()]


def test_an_action_says_who_from_where_when_what_and_what_came_of_it(tmp_path):
    one = loaded(tmp_path)
    one.add("command line, ann (uid 1000)", "127.0.0.1", "pause consuming", "done")
    one.add("command line, bob (uid 1001)", "::1", "set nsq.topic = x", "refused: no")
    newest, first = one.newest_first()
    assert first.pop("at").endswith("Z")
    assert first == {
        "who": "command line, ann (uid 1000)",
        "from": "127.0.0.1",
        "action": "pause consuming",
        "result": "done",
    }
    assert (newest["from"], newest["result"]) == ("::1", "refused: no")
    assert loaded(tmp_path).newest_first() == one.newest_first()
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_actions_survive_a_kill_9(tmp_path):
    code = (
        "import os, signal, sys; from actors.service.action_log import ActionLog; "
        "one = ActionLog(sys.argv[1]); [one.add('a', 'b', str(n), 'done') for n in range(7)]; "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT).returncode == -9
    assert shown(loaded(tmp_path)) == list("6543210")


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe\n", b'{"at": 1}\n', b"[[[[\n", b'{"at": "now", "who": "me', b"\n\n", b"\0" * 100]
)
def test_a_damaged_line_is_passed_over_and_the_next_action_is_whole(tmp_path, damage):
    one = loaded(tmp_path)
    one.add("a", "b", "before", "done")
    with (tmp_path / NAME).open("ab") as file:
        file.write(damage)
    again = loaded(tmp_path)
    assert shown(again) == ["before"]
    again.add("a", "b", "after", "done")
    again.add("a", "b", "after that", "done")
    assert shown(loaded(tmp_path)) == ["after that", "after", "before"]


def test_the_files_and_the_memory_are_bounded_and_a_long_text_is_cut(tmp_path):
    one = loaded(tmp_path)
    for number in range(3 * BYTES_MAX // CHARACTERS_MAX):
        one.add("a", "b", f"{number} {'x' * 10_000}", "done")
    assert sorted(os.listdir(tmp_path)) == [NAME, OLDER]
    assert max((tmp_path / name).stat().st_size for name in (NAME, OLDER)) <= BYTES_MAX
    for each in (one, loaded(tmp_path)):
        found = each.newest_first()
        assert len(found) == SHOWN_MAX
        assert [int(action["action"].split()[0]) for action in found] == list(
            range(number, number - SHOWN_MAX, -1)
        )
        assert {len(action["action"]) for action in found} == {CHARACTERS_MAX}


def test_a_disk_that_takes_no_line_stops_no_action_and_says_so(tmp_path, caplog, monkeypatch):
    one = loaded(tmp_path)
    write = os.write
    monkeypatch.setattr(action_log.os, "write", lambda descriptor, line: write(descriptor, line[:9]))
    one.add("a", "b", "one", "done")
    assert "cannot be written" in caplog.text and shown(one) == ["one"]
    monkeypatch.undo()
    one.add("a", "b", "two", "done")
    assert shown(loaded(tmp_path)) == ["two"]


def test_a_pipe_in_the_place_of_the_file_holds_up_nothing(tmp_path, caplog):
    os.mkfifo(tmp_path / NAME)
    one = loaded(tmp_path)
    one.add("a", "b", "one", "done")
    assert "it is a pipe" in caplog.text and shown(one) == ["one"]
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    one.add("a", "b", "two", "done")
    assert not (tmp_path / "elsewhere").exists()


def test_one_line_of_json_is_one_action(tmp_path):
    loaded(tmp_path).add("a\nb", "c", "d\n", "done\x1b[31m")
    (line,) = (tmp_path / NAME).read_text().splitlines()
    assert json.loads(line)["who"] == "a\nb"
