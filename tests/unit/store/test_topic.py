"""A state counts the plays of one topic, told apart by one key. Others are refused until accepted."""

import contextlib
import os
import sqlite3

import pytest

from actors.store import SqliteOutboxStore, outbox_path
from actors.store.reshard import reshard
from actors.store.topic import accept_topic
from actors.system import runfile
from actors.system.exits import Failure, StoreFailure
from actors.system.locks import lock_file


def opened(state_dir, topic, shards=2, play_id=""):
    """Open the dispatcher's store, and close it."""
    made = SqliteOutboxStore(state_dir, shards, "NORMAL", topic, play_id=play_id)
    with contextlib.closing(made) as store:
        return store.service


def test_another_topic_is_refused_names_both_and_the_command_and_changes_nothing(tmp_path):
    state_dir = str(tmp_path)
    opened(state_dir, "plays")
    before = outbox_path(state_dir).read_bytes()
    for _ in range(2):
        with pytest.raises(StoreFailure, match=r"'plays', and now it is 'clicks'.*accept-topic"):
            opened(state_dir, "clicks")
    assert outbox_path(state_dir).read_bytes() == before
    opened(state_dir, "plays")


def test_an_accepted_topic_is_taken_and_the_one_before_is_refused(tmp_path):
    state_dir = str(tmp_path)
    service = opened(state_dir, "plays")
    assert accept_topic(state_dir, "clicks") == ("plays", "")
    assert opened(state_dir, "clicks") == service
    with pytest.raises(StoreFailure):
        opened(state_dir, "plays")
    assert accept_topic(state_dir, "clicks") == ("clicks", "")


def test_a_state_of_an_earlier_version_takes_the_topic_of_its_next_start(tmp_path):
    state_dir = str(tmp_path)
    opened(state_dir, "")
    opened(state_dir, "plays")
    with pytest.raises(StoreFailure):
        opened(state_dir, "clicks")


def test_a_resharded_state_keeps_its_topic(tmp_path):
    state_dir = str(tmp_path)
    opened(state_dir, "plays")
    reshard(state_dir, 3)
    with pytest.raises(StoreFailure):
        opened(state_dir, "clicks", 3)
    opened(state_dir, "plays", 3)


def test_a_topic_is_not_accepted_while_a_service_runs_or_without_a_state(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(Failure, match="no ledgers"):
            accept_topic(str(folder), "clicks")
    opened(str(tmp_path), "plays")
    held = lock_file(runfile.lock_path(str(tmp_path)))
    try:
        with pytest.raises(Failure, match="stop it with"):
            accept_topic(str(tmp_path), "clicks")
    finally:
        os.close(held)


def test_a_store_that_cannot_be_written_is_a_failure_and_keeps_its_topic(tmp_path):
    state_dir = str(tmp_path)
    opened(state_dir, "plays")
    with contextlib.closing(sqlite3.connect(outbox_path(state_dir))) as store:
        store.execute("CREATE TRIGGER full BEFORE INSERT ON meta BEGIN SELECT RAISE(FAIL, 'no room'); END")
    with pytest.raises(Failure, match=r"the topic is not accepted \(no room\); nothing is changed"):
        accept_topic(state_dir, "clicks")
    with contextlib.closing(sqlite3.connect(outbox_path(state_dir))) as store:
        store.execute("DROP TRIGGER full")
    opened(state_dir, "plays")


@pytest.mark.parametrize(("before", "after"), [("", "id"), ("id", ""), ("id", "event_id")])
def test_another_play_id_is_refused_names_both_and_is_taken_once_it_is_accepted(tmp_path, before, after):
    state_dir = str(tmp_path)
    opened(state_dir, "plays", play_id=before)
    kept = outbox_path(state_dir).read_bytes()
    for _ in range(2):
        with pytest.raises(
            StoreFailure, match=f"play_id = '{before}', and now it is '{after}'.*accept-topic"
        ):
            opened(state_dir, "plays", play_id=after)
    assert outbox_path(state_dir).read_bytes() == kept
    opened(state_dir, "plays", play_id=before)
    assert accept_topic(state_dir, "plays", after) == ("plays", before)
    opened(state_dir, "plays", play_id=after)
    with pytest.raises(StoreFailure):
        opened(state_dir, "plays", play_id=before)


def test_a_state_of_an_earlier_version_told_plays_apart_by_the_ids_of_nsq(tmp_path):
    state_dir = str(tmp_path)
    opened(state_dir, "plays")
    with contextlib.closing(sqlite3.connect(outbox_path(state_dir))) as store:
        store.execute("DELETE FROM meta WHERE key = 'play_id'")
        store.commit()
    with pytest.raises(StoreFailure, match="play_id = '', and now it is 'id'"):
        opened(state_dir, "plays", play_id="id")
    opened(state_dir, "plays")


def test_a_resharded_state_keeps_its_play_id(tmp_path):
    state_dir = str(tmp_path)
    opened(state_dir, "plays", play_id="id")
    reshard(state_dir, 3)
    with pytest.raises(StoreFailure):
        opened(state_dir, "plays", 3)
    opened(state_dir, "plays", 3, play_id="id")
