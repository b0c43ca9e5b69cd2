"""A state is its owner's alone: folders have the mode 0700 and files 0600, whatever the umask was.

Another user could read every total otherwise, and hold a lock of ours for as long as they like.
"""

import contextlib
import logging
import os
import pwd
import shlex
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .exits import StoreFailure
from .locks import lock_file
from .umask import UMASK

log = logging.getLogger(__name__)

FOLDER_MODE, FILE_MODE = 0o700, 0o600
OTHERS_WRITE = 0o022
NAMED_MAX = 3
LOST_AND_FOUND = "lost+found"  # at the top of a file system, of root
# What a service has in its state folder. What else is there is not touched.
_FILES = (
    "*.sqlite*",
    "*.mark",
    "*.lock",
    "*.draft",
    "*.ring",
    "ledgers.json",
    "service.json",
    "service.held",
    "actions.jsonl*",
)
_FOLDERS = ("client", "nsqd", "ledgers-*", "replaced-*", "restoring", "run")


def check_owner(state_dir: str | Path) -> None:
    """Raise `StoreFailure` if a state is another user's. A folder that is not there yet is nobody's."""
    folder = Path(state_dir)
    _check_links(folder, "name another supervisor.state_dir")
    try:
        found = folder.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreFailure(
            f"{folder}: cannot be reached ({error.strerror}), expected a folder of {_user()}, who runs this; "
            f"{_remedy(folder)}"
        ) from error
    if found.st_uid != os.geteuid():
        raise StoreFailure(
            f"{folder}: belongs to {_user(found.st_uid)}, expected {_user()}, who runs this; "
            f"{_remedy(folder)}"
        )
    others = {
        path.relative_to(folder): uid for path in _contents(folder) if (uid := _other(path)) is not None
    }
    if others:
        named = ", ".join(map(str, list(others)[:NAMED_MAX])) + (", …" if len(others) > NAMED_MAX else "")
        owner = _user(next(iter(others.values())))
        raise StoreFailure(
            f"{folder}: {named} in it belong to {owner}, expected {_user()}, who runs this; {_remedy(folder)}"
        )


def check_owner_of(folder: Path) -> None:
    """Raise `StoreFailure` if a folder for the user's own files, or what is in it, is another user's."""
    _check_links(folder, "name another folder")
    for path in (folder, *(one for one in folder.iterdir() if one.name != LOST_AND_FOUND)):
        uid = (folder.stat() if path == folder else path.lstat()).st_uid
        if uid != os.geteuid():
            raise StoreFailure(
                f"{path}: belongs to {_user(uid)}, expected {_user()}, who runs this: name another folder"
            )


def take_from_writers(folder: Path) -> None:
    """Take from other users the right to write in a folder, and log it. Raises `OSError`."""
    mode = folder.stat().st_mode
    if mode & OTHERS_WRITE:
        folder.chmod(stat.S_IMODE(mode) & ~OTHERS_WRITE)
        log.warning("%s: other users could write in it, and only its owner can from now on", folder)


def why_untrusted(file: Path) -> str:
    """Why a file that nobody named is not obeyed, as ssh and git judge theirs; "" if it is.

    A file, or a link to it, of another user but root could have us do what that user likes. On a file system
    that is mounted read-only, who mounted it has chosen it. Raises `OSError`.
    """
    if os.statvfs(file).f_flag & os.ST_RDONLY:
        return ""
    for found in (file.lstat(), file.stat()):
        if found.st_uid not in {0, os.geteuid()}:
            return (
                f"belongs to {_user(found.st_uid)}, expected {_user()}, who runs this, or root: use another "
                f"working directory or, if you trust its owner, name it: --config {file}"
            )
    if found.st_mode & stat.S_IWOTH:
        return (
            f"every user can write in it (mode {_octal(found.st_mode)}), expected a file that no other user "
            f"can write in: take that right from them (chmod o-w {shlex.quote(str(file))}), or name it: "
            f"--config {file}"
        )
    return ""


def _check_links(folder: Path, remedy: str) -> None:
    """Raise `StoreFailure` if a link on the way to the folder is another user's, but root's."""
    path = folder.absolute()
    for one in (path, *path.parents):
        with contextlib.suppress(OSError):
            found = os.lstat(one)
            if stat.S_ISLNK(found.st_mode) and found.st_uid not in {0, os.geteuid()}:
                raise StoreFailure(
                    f"{one}: is a link of {_user(found.st_uid)}, who could lead it elsewhere, expected one "
                    f"of {_user()}, who runs this; {remedy}"
                )


def _warn_of_writers_above(folder: Path) -> None:
    """Log which folder above the state every user can write in: they can put another in its place."""
    for one in folder.absolute().parents:
        with contextlib.suppress(OSError):
            mode = one.stat().st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                log.warning(
                    "%s: every user can write in this folder above the state, so other users can put theirs "
                    "in its place and read secrets; take that right from them (chmod o-w %s), or use another "
                    "supervisor.state_dir",
                    one,
                    shlex.quote(str(one)),
                )


def mend(state_dir: str | Path) -> None:
    """Take from other users what they may do with a state, and log what was changed, in one line.

    A folder that has more than the state in it, such as a home, keeps its mode. The log says so. Raises
    `StoreFailure` if others can write in such a folder, and it is not sticky: they could put theirs in the
    place of ours.
    """
    folder = Path(state_dir)
    _warn_of_writers_above(folder)
    changes: Counter[str] = Counter()
    failed = ""
    found = folder.stat().st_mode
    shared = bool(found & UMASK) and _is_shared(folder)
    if shared and found & OTHERS_WRITE and not found & stat.S_ISVTX:
        raise StoreFailure(
            f"{folder}: other users can write in it (mode {_octal(found)}), and it has other things than the "
            f"state in it; set supervisor.state_dir to a folder in it, such as {folder / 'playtally'}, or "
            f"take that right from them (chmod go-w {shlex.quote(str(folder))})"
        )
    if shared:
        log.warning(
            "%s: has other things in it too, so the folder's mode stays as it is; expected a folder for this "
            "state alone, such as %s",
            folder,
            folder / "playtally",
        )
    for path in [*([] if shared else [folder]), *_contents(folder)]:
        try:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) or not mode & UMASK:
                continue
            if path.suffix == ".lock" or path.name == "service.held":
                _replace_lock(path)
                continue
            kind, wanted = ("folder", FOLDER_MODE) if stat.S_ISDIR(mode) else ("file", FILE_MODE)
            path.chmod(wanted)
            if path.lstat().st_mode & UMASK:
                raise PermissionError(0, "the file system keeps its own modes")
            changes[f"{kind} mode {_octal(mode)} -> {_octal(wanted)}"] += 1
        except FileNotFoundError:  # an actor that ends has removed it
            continue
        except OSError as error:
            failed = failed or f"{path}: {error.strerror}"
    if changes:
        told = "; ".join(f"{change}: {count}" for change, count in sorted(changes.items()))
        log.warning("%s: other users had access, and only its owner has it from now on (%s)", folder, told)
    if failed:
        log.warning("%s: other users may have access, and that can't be changed (%s)", folder, failed)


def _replace_lock(path: Path) -> None:
    """Remove a lock file that other users could open: one of them could hold its lock for ever.

    A process of ours that is just ending has some seconds to let go. The next `lock_file` makes a new file.
    """
    with contextlib.suppress(StoreFailure):
        os.close(lock_file(path))
    path.unlink(missing_ok=True)


def _is_shared(folder: Path) -> bool:
    """Whether the folder has other folders in it than ours, or is one that every user may write to."""
    ours = {path.name for pattern in (*_FILES, *_FOLDERS) for path in folder.glob(pattern)}
    others = [path for path in folder.iterdir() if path.name not in {*ours, LOST_AND_FOUND}]
    return any(path.is_dir() for path in others) or bool(others and folder.stat().st_mode & stat.S_ISVTX)


def _contents(folder: Path) -> Iterator[Path]:
    """What has a name of ours in the folder, with all that is in our folders. No link is followed."""
    for pattern in _FILES:
        yield from folder.glob(pattern)
    for pattern in _FOLDERS:
        for top in folder.glob(pattern):
            yield top
            if not top.is_symlink():
                for place, folders, files in os.walk(top):
                    yield from (Path(place, name) for name in (*folders, *files))


def _other(path: Path) -> int | None:
    """The owner of a file or a folder if that is another user."""
    try:
        uid = path.lstat().st_uid
    except OSError:
        return None
    return None if uid == os.geteuid() else uid


def _octal(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}"


def _user(uid: int | None = None) -> str:
    """A user in words; None: who runs this."""
    number = os.geteuid() if uid is None else uid
    try:
        return f"the user {pwd.getpwuid(number).pw_name} ({number})"
    except KeyError:  # a container may know no users
        return f"the user {number}"


def _remedy(folder: Path) -> str:
    if os.access(folder, os.W_OK | os.X_OK):
        return (
            f"set supervisor.state_dir to a folder in it, such as {folder / 'playtally'}, or give it and all "
            "in it to this user (chown -R), or run this as that user"
        )
    return (
        "run this as that user, or give the folder and all in it to this one (chown -R), or use another "
        "supervisor.state_dir"
    )
