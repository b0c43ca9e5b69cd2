"""Which consumers of a channel are ours."""

import json
import socket

import pytest

from actors.sources.readers import NAMES_MAX, Reader, client_id_of, named, others_of

HERE = socket.gethostname()
OURS = Reader("playtally-a", HERE, "127.0.0.1:1000", "playtally")


def test_all_connections_with_our_id_on_this_machine_are_ours_and_no_others():
    elsewhere = Reader("playtally-a", f"not-{HERE}", "10.0.0.9:1", "playtally")  # a copy of our state
    stranger = Reader(HERE, HERE, "127.0.0.1:2000", "pynsq/0.9.1")
    assert others_of([OURS, elsewhere, OURS, stranger], "playtally-a") == (elsewhere, stranger)
    assert others_of([OURS], "") == (OURS,)  # nothing was ever counted here, so none of them is ours


@pytest.mark.parametrize("content", [None, b"", b"[1]", b'{"state": 5}', b"\xff"])
def test_without_a_state_there_is_no_client_id(tmp_path, content):
    if content is not None:
        (tmp_path / "ledgers.json").write_bytes(content)
    assert client_id_of(str(tmp_path)) == ""


def test_the_client_id_is_made_of_the_states_id(tmp_path):
    (tmp_path / "ledgers.json").write_text(json.dumps({"state": "0f" * 16, "shards": 2}))
    assert client_id_of(str(tmp_path)) == f"playtally-{'0f' * 16}"


def test_many_readers_are_named_in_part():
    assert named([OURS]) == f"127.0.0.1:1000 ({HERE}, playtally)"
    assert named([OURS] * (NAMES_MAX + 2)).endswith(", 2 more")
