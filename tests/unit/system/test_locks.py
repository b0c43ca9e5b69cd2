"""Lock files: one holder at a time, and looking leaves no trace."""

import os

from actors.system.locks import is_locked, try_lock


def test_a_lock_has_one_holder_and_is_free_when_that_one_closes_it(tmp_path):
    path = tmp_path / "x.lock"
    holder = try_lock(path)
    assert holder is not None
    assert try_lock(path) is None
    assert is_locked(path)
    os.close(holder)
    assert not is_locked(path)
    os.close(try_lock(path))


def test_to_ask_for_a_lock_makes_no_file(tmp_path):
    assert not is_locked(tmp_path / "x.lock")
    assert list(tmp_path.iterdir()) == []
