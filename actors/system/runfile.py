"""How to reach a running service: one JSON file in its state folder.

The supervisor writes it when everything is up, with the ports that were really taken; commands and the
producer read it. It also has a secret of this start, which gives the right to change what runs. So no other
user can read the file. While it lives, the supervisor holds a lock beside the file. So the file of a killed
supervisor is not believed, even if another process has its pid by now.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from .exits import Failure, StoreFailure
from .locks import is_locked, is_same, lock_file, make_folder

NAME = "service.json"


def write(state_dir: str, facts: dict[str, Any]) -> None:
    """Replace the file: a reader sees the old facts or the new ones. Raises `Failure`.

    Adds where the pid is valid: see `is_here`.
    """
    target = Path(state_dir) / NAME
    draft = target.with_suffix(".draft")
    try:
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(json.dumps({**facts, "pid_namespace": _pid_namespace()}, indent=1) + "\n")
        draft.replace(target)
    except OSError as error:
        raise Failure(
            f"{target}: cannot be written ({error.strerror}), and nobody could reach the service without it: "
            "make room, or use another supervisor.state_dir"
        ) from error


def read(state_dir: str | Path) -> dict[str, Any] | None:
    """The facts of the running service; None if none runs on that folder.

    A file that is not ours is not believed: a signal to a pid of 0 or less would reach many processes, and
    with another user's file, that user would choose which process gets it.
    """
    if not is_held(state_dir):
        return None
    try:
        with open(Path(state_dir) / NAME, encoding="utf-8") as file:
            facts = json.load(file) if os.fstat(file.fileno()).st_uid == os.geteuid() else None
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(facts, dict) or type(facts.get("pid")) is not int or facts["pid"] < 1:
        return None
    return facts if isinstance(facts.get("admin_address"), str) else None


def is_here(facts: dict[str, Any]) -> bool:
    """Whether the pids of a service are those of the processes that this one sees.

    A service in a container has pids of its own, from 1 on. Here they are those of other processes.
    """
    here = _pid_namespace()
    return bool(facts.get("pid_namespace", here) == here)


def _pid_namespace() -> str:
    """A name for the processes that this one sees; "" where the system has only one."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def hold(state_dir: str, timeout_s: float) -> int:
    """Lock a state folder, and remove what a killed service left there. Returns the lock's descriptor.

    The folder is made if need be. Raises as `lock_file`, which says what `timeout_s` is.
    """
    make_folder(state_dir)
    lock, path = lock_file(_held_path(state_dir), timeout_s), lock_path(state_dir)
    try:
        if path.exists() and not is_same(path, lock):
            os.close(lock_file(path, timeout_s))  # an earlier version may hold it
        with contextlib.suppress(OSError):  # a file system may have no links
            path.unlink(missing_ok=True)
            os.link(_held_path(state_dir), path)
        remove(state_dir)  # else it would be believed, as the lock is held again
    except OSError as error:
        os.close(lock)
        file = Path(state_dir) / NAME
        raise StoreFailure(f"{file}: cannot be removed ({error.strerror}): remove it yourself") from error
    except BaseException:
        os.close(lock)
        raise
    return lock


def is_held(state_dir: str | Path) -> bool:
    """Whether a living process holds the folder's lock: a service, or a command that none may run beside."""
    return is_locked(_held_path(state_dir)) or is_locked(lock_path(state_dir))


def remove(state_dir: str) -> None:
    """Remove the file, because the service no longer runs."""
    (Path(state_dir) / NAME).unlink(missing_ok=True)


def lock_path(state_dir: str | Path) -> Path:
    """The file that the running service holds a lock on."""
    return Path(state_dir) / "service.lock"


def _held_path(state_dir: str | Path) -> Path:
    """Another name of that file: scripts remove "stale" files named *.lock, also while a service runs."""
    return Path(state_dir) / "service.held"
