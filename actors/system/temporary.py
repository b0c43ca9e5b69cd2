"""Folders for what a process needs only while it lives. None of them stays for long, even after a SIGKILL.

A scratch folder is in the folder for temporary files. Its process holds a lock on it, which ends with the
process. So the next start of a service can tell which ones are left over, and removes them (`sweep`).

A service has the folder `run` in its state for its own temporary files: it is empty at each start. The
sockets of multiprocessing are there too, unless the path is too long for a socket (some hundred bytes) or the
file system has none. Then they are in a scratch folder.
"""

import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import runfile
from .exits import Failure

RUN = "run"  # the folder in the state
KEPT = ".kept"  # in a scratch folder that somebody may want to look into
_PREFIX, _SUFFIX = "playtally-", ".scratch"
_TRIES = 5  # a sweep may take a new folder before it is locked
_SHORT = ("/tmp", "/var/tmp")  # for sockets, where TMPDIR is long
_SOCKET = "listener-12345678"  # as long as the name that multiprocessing gives a socket in the folder


@contextlib.contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """A new folder, for this user alone; it is removed at the end of the block, unless it was kept (`keep`).

    `purpose` is a part of its name.
    """
    folder, lock = _make(purpose, None)
    try:
        yield folder
    finally:
        if not (folder / KEPT).exists():
            shutil.rmtree(folder, ignore_errors=True)
        _close(lock)


def keep(folder: Path) -> None:
    """Leave a scratch folder where it is: neither its end nor a sweep removes it."""
    (folder / KEPT).touch()


def sweep() -> None:
    """Remove this user's scratch folders whose process is gone, and what a killed `cluster` has left."""
    for place in _places():
        for path in [*place.glob(f"{_PREFIX}*{_SUFFIX}"), cluster_folder(place)]:
            lock = hold(path)
            if lock is None:
                continue
            # A demo's service may still be ending, and it has its state there.
            if not (path / KEPT).exists() and not runfile.is_held(path / "state"):
                shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def cluster_folder(place: Path) -> Path:
    """The folder of this user's cluster in a folder for temporary files. A running cluster holds it."""
    return place / f"{_PREFIX}cluster-{os.getuid()}"


def hold(folder: Path) -> int | None:
    """Lock a folder of this user, and return the descriptor that holds the lock.

    Returns None if another process holds it, or if it is not there, a link, or another user's.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.fstat(descriptor)
        # Another process may have removed it before it was locked.
        if held.st_uid == os.getuid() and os.path.samestat(held, os.lstat(folder)):
            return descriptor
    os.close(descriptor)
    return None


def use_run_folder(folder: Path) -> None:
    """Have this process and its children make their temporary files and sockets in `folder`/run, emptied now.

    Call it before the first child is started, while no other process uses the folder. Raises `Failure`.
    """
    run = folder / RUN
    shutil.rmtree(run, ignore_errors=True)
    try:
        if run.is_symlink():  # which `rmtree` leaves
            run.unlink()
        run.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Failure(
            f"{run}: cannot be made ({error.strerror}), expected a folder for temporary files"
        ) from error
    os.environ["TMPDIR"] = str(run)  # SQLite looks there too
    _remove_at_the_end(run)
    _have_sockets_in(run if _takes_sockets(run) else _short_folder(run))


def renew_sockets_folder() -> None:
    """Have another folder for new sockets, if somebody has removed the one of `use_run_folder`.

    Raises `OSError` if there can be none.
    """
    if tempfile.tempdir is None or os.path.isdir(tempfile.tempdir):
        return
    run = Path(os.environ["TMPDIR"])
    with contextlib.suppress(OSError):  # a scratch folder is the other way
        run.mkdir(mode=0o700, exist_ok=True)
    try:
        _have_sockets_in(run if _takes_sockets(run) else _short_folder(run))
    except Failure as failure:
        raise OSError(str(failure)) from failure


def _have_sockets_in(folder: Path) -> None:
    from multiprocessing import process  # here: most commands start no process

    _remove_at_the_end(folder)
    tempfile.tempdir = str(folder)
    # Else multiprocessing makes a folder in it, which it can't remove when somebody else has done so.
    vars(process.current_process())["_config"]["tempdir"] = str(folder)


def _remove_at_the_end(folder: Path) -> None:
    from multiprocessing.util import Finalize

    Finalize(None, shutil.rmtree, (folder, True), exitpriority=-200)  # at the end of Python


def _short_folder(run: Path) -> Path:
    """A scratch folder that takes sockets, until this process ends. Raises `Failure`."""
    places = _places()
    for place in places:
        with contextlib.suppress(OSError):
            folder, _ = _make("sockets", place)  # the lock ends with this process
            if _takes_sockets(folder):
                return folder
            shutil.rmtree(folder, ignore_errors=True)
    raise Failure(
        f"{run}: no place for the sockets of the processes, because its path is too long for one or its file "
        f"system has none, and a folder in {', '.join(map(str, places))} can't be used either; expected one "
        "that can: use a supervisor.state_dir with a shorter path"
    )


def _places() -> list[Path]:
    """The folders for temporary files, the one that TMPDIR names first."""
    found = []
    with contextlib.suppress(OSError):  # there may be none that can be written
        found.append(tempfile.gettempdir())
    return [Path(one) for one in dict.fromkeys([*found, *_SHORT])]


def _make(purpose: str, place: Path | None) -> tuple[Path, int | None]:
    """Make a scratch folder. Returns it with its lock, or None where folders can't be locked."""
    folder = Path()
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(_SUFFIX, f"{_PREFIX}{purpose}-", place))
        lock = hold(folder)
        if lock is not None:
            return folder, lock
    return folder, None


def _takes_sockets(folder: Path) -> bool:
    path = folder / _SOCKET
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(path))
        path.unlink()
    except OSError:
        return False
    return True


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
