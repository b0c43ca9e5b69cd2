"""Who only wants to know the id of a state is not held up, whatever lies in the place of its file."""

import os

import pytest

from actors.system.state_id import NAME, ledgers_folder, read_state_id


@pytest.mark.parametrize("kind", ["pipe", "folder", "nothing", "no JSON", "no object"])
def test_what_is_no_file_of_ours_has_no_id(tmp_path, kind):
    path = tmp_path / NAME
    {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "nothing": lambda: None,
        "no JSON": lambda: path.write_text("{"),
        "no object": lambda: path.write_text("[1]"),
    }[kind]()
    assert (read_state_id(tmp_path), ledgers_folder(tmp_path)) == ("", "")


def test_the_id_and_the_folder_are_those_in_the_file(tmp_path):
    (tmp_path / NAME).write_text('{"state": "5", "folder": "ledgers-2", "shards": 3}')
    assert (read_state_id(tmp_path), ledgers_folder(tmp_path)) == ("5", "ledgers-2")
