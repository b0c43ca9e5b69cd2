"""Checks a journal before it is opened for writing. Only reads, so a refused file stays as it is.

SQLite alone would open a journal whose -wal was deleted or cut, and would give back whatever bytes a row has.
So all of it is read: every page, every row's checksum, and the sum of all checksums. That takes some 2 s for
1 GB or a million rows. The number of commits is compared with the mark.
"""

import contextlib
import logging
import pathlib
import sqlite3

from ..store.database import cut_within_page
from ..store.mark import mark_path, read_mark, say_if_untold
from .journal_schema import (
    APPLICATION_ID,
    COLUMNS,
    COLUMNS_OF_2,
    DIGESTED,
    FORMAT,
    META_COLUMNS,
    TABLES_OF,
    checksum,
)

log = logging.getLogger(__name__)

# SQLite syncs the -wal when it has this many pages, and a commit writes one page or more.
POWER_CUT_COMMITS_MAX = 2048
_IN_WAL_MODE = b"\2\2"  # SQLite's "file format write version" and "read version"


class Damage(Exception):
    """The journal can't be used. The text says why."""


def check(path: pathlib.Path, marked: pathlib.Path) -> int:
    """The format of the journal at `path`; 0 if it was never made. `marked`: as in `JournalFile`.

    Raises `Damage`, `OSError` or `sqlite3.Error`.
    """
    promised, is_same_boot = read_mark(marked)
    number = commits = 0
    is_new = path.with_name(f"{path.name}-journal").exists()  # killed before anything was committed
    if path.exists() and path.stat().st_size > 1 and not is_new:  # SQLite takes one byte for nothing
        if cut := cut_within_page(path):
            raise Damage(cut)
        with contextlib.closing(_read_only(path)) as connection:
            number = _format(connection)
            if number:
                _check_header(path)
                _check_pages(connection)
            if number in TABLES_OF:
                commits = _check_rows(connection, number)
    elif _has_wal(path):
        raise Damage("it is missing or empty, and its -wal is there")  # SQLite would delete the -wal
    mark = mark_path(marked)
    if not number and mark.exists():  # the mark is made after the journal
        raise Damage(
            f"the journal is missing, and {mark} says that {promised or 'some'} commits were made in it"
        )
    say_if_untold(marked, path, commits)
    if commits >= promised:
        return number
    lost = f"it ends at commit {commits}, and {mark} says that {promised} were made"
    if is_same_boot or promised - commits > POWER_CUT_COMMITS_MAX:
        raise Damage(
            f"{lost}: its -wal is missing or damaged, or it is an older copy. Acknowledged messages are "
            f"missing; to go on with those that are there, empty {mark}"
        )
    log.error(
        "%s: %s, before the last start of the machine: a power cut took the last moments. Messages that came "
        "in them may be missing. The queue goes on without them",
        path,
        lost,
    )
    return number


def _has_wal(path: pathlib.Path) -> bool:
    wal = path.with_name(f"{path.name}-wal")
    return wal.exists() and wal.stat().st_size > 0


def state_of(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many commits there are, and the digest after the last one."""
    last_append = "SELECT commits, digest + checksum FROM segments ORDER BY sequence DESC LIMIT 1"
    rows = connection.execute("SELECT commits, digest FROM meta").fetchall()
    commits, digest = max(rows + connection.execute(last_append).fetchall())
    return int(commits), int(digest)


def _read_only(path: pathlib.Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.create_function("checksum", -1, checksum, deterministic=True)
    return connection


def _format(connection: sqlite3.Connection) -> int:
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    ((number,),) = connection.execute("PRAGMA user_version").fetchall()
    ((tables,),) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
    if not application and not number and not tables:
        return 0  # its process was killed before the schema was committed
    if application != APPLICATION_ID or number < 1:
        raise Damage("it is a database of another program")
    if number > FORMAT:
        raise Damage(
            f"its format is {number}, expected at most {FORMAT}: a newer version of playtally wrote it"
        )
    return int(number)


def _check_header(path: pathlib.Path) -> None:
    """Raise if the file says that it has no -wal: SQLite would not write it, or would ignore the -wal."""
    with open(path, "rb") as file:
        versions = file.read(20)[18:]
    if versions != _IN_WAL_MODE:
        raise Damage(f"bytes 18 and 19 are {versions.hex(' ')}, expected {_IN_WAL_MODE.hex(' ')}")


def _check_pages(connection: sqlite3.Connection) -> None:
    """Every page, and what the index has of the rows."""
    ((found,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if found != "ok":
        raise Damage(" ".join(found.split()))


def _check_rows(connection: sqlite3.Connection, number: int) -> int:
    """Every row, and that none is missing. `number`: the format. Returns the number of commits."""
    if _schema_of(connection) != _expected_schema(number):
        raise Damage("its tables were changed")
    rows = connection.execute(f"SELECT checksum = checksum({META_COLUMNS}) FROM meta").fetchall()
    if rows != [(1,)]:
        raise Damage("the checksum of its table meta does not match")
    commits, digest = state_of(connection)
    for table, columns in (COLUMNS if number == FORMAT else COLUMNS_OF_2).items():
        ((total, wrong),) = connection.execute(
            f"SELECT COALESCE(SUM(checksum), 0), COALESCE(SUM(checksum IS NOT checksum({columns})), 0) "
            f"FROM {table}"
        ).fetchall()
        if wrong:
            raise Damage(f"the checksums of {wrong} rows of its table {table} do not match")
        digest -= total if table in DIGESTED else 0
    if digest:
        raise Damage("rows are missing, or deleted rows are there again")
    return commits


def _schema_of(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def _expected_schema(number: int) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        fresh.executescript(TABLES_OF[number])
        return _schema_of(fresh)
