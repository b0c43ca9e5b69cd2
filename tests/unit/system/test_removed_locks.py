"""A clean-up of "stale" lock files opens no state for a second service, and no other user can hold a lock."""

import fcntl
import os

import pytest

from actors.system import ownership, runfile
from actors.system.exits import StoreFailure


def test_who_removes_lock_files_lets_no_second_service_in(tmp_path):
    held = runfile.hold(str(tmp_path), 0.0)
    for path in tmp_path.glob("*.lock"):
        path.unlink()
    assert runfile.is_held(tmp_path)
    with pytest.raises(StoreFailure, match="is held by another process"):
        runfile.hold(str(tmp_path), 0.0)
    os.close(held)
    assert not runfile.is_held(tmp_path)
    os.close(runfile.hold(str(tmp_path), 0.0))


def test_a_lock_file_that_others_could_open_is_replaced_before_it_is_locked(tmp_path):
    for name in ("service.lock", "counter-0.lock"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    with open(tmp_path / "service.lock", "rb") as other, open(tmp_path / "counter-0.lock", "rb") as more:
        fcntl.flock(other, fcntl.LOCK_SH)
        fcntl.flock(more, fcntl.LOCK_SH)
        with pytest.raises(StoreFailure, match="is held by another process"):
            runfile.hold(str(tmp_path), 0.0)
        ownership.mend(tmp_path)
        os.close(runfile.hold(str(tmp_path), 0.0))
    assert (tmp_path / "service.lock").stat().st_mode & 0o777 == 0o600
