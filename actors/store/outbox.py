"""The dispatcher's store on disk: the batches that some ledger has not recorded yet, publish totals, requests
to publish totals again, and the videos that the client refuses.
"""

import sqlite3
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from ..core.dispatcher.outbox import Batch, PublishTotals
from ..core.dispatcher.refused_videos import RefusedVideo
from ..core.dispatcher.republish import Republish
from .client_check import RESTORED
from .database import Database, check_facts, locked, open_read_only, refused
from .elsewhere import check_elsewhere, marks_elsewhere
from .folder import claim
from .ledger import check_commits
from .mark import Mark
from .older import agreed, check_ages, why_behind
from .publish_totals import read_totals, write_totals
from .topic import Counted, check_topic
from .untouched import left_if_refused

_WRITE_BATCH = "INSERT OR REPLACE INTO batches VALUES (?, ?)"
# It keeps its row, so that the order stays.
_WRITE_REFUSED = "INSERT INTO refused_videos VALUES (?1, ?2) ON CONFLICT (video) DO UPDATE SET content = ?2"


class SqliteOutboxStore:
    """The dispatcher's batches. Raises `StoreFailure` if they can't be used."""

    def __init__(
        self,
        state_dir: str,
        shards: int,
        synchronous: str,
        topic: str = "",
        compare: Callable[[str], None] = lambda why: None,
        may_make: bool = True,
        play_id: str = "",
    ):
        """`topic`: whose plays are counted; "" if it does not matter here. `play_id`: as in `nsq.play_id`.

        `compare`, `may_make`: as in `open_outbox`.
        """
        ledgers = claim(state_dir, shards, may_make)
        path = ledgers.outbox(state_dir)
        with locked(path) as lock, left_if_refused(ledgers.files(state_dir), held=path):
            with open_read_only(path) as connection:
                check_facts(path, connection, ledgers.facts())
                totals = check_content(path, connection)
                if topic:
                    check_topic(path, connection, topic, play_id)
            check_commits(path, totals.stores, synchronous, "publishes that the client may have")
            older = check_ages(state_dir, ledgers, range(shards), synchronous)
            check_elsewhere(state_dir, path, totals.stores, synchronous)
            why = why_behind(state_dir, ledgers, older, synchronous, totals.stores)
            compare(why)
            self._marks = [Mark(path), *marks_elsewhere(state_dir)]
            self._database = Database(path, synchronous, lock)
        # An id of this state, so that a client never confuses our keys with those of an earlier state.
        with self._database.transaction() as connection:
            more = [("service", uuid.uuid4().hex), ("state", ledgers.state)]
            more += Counted(topic or None, play_id).rows()
            connection.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", more)
            if older:
                write_totals(connection, agreed(totals, older))
            if why:
                go_on_without(connection, why)
        self._promise(agreed(totals, older).stores)
        self.service: str = self._database.query("SELECT value FROM meta WHERE key = 'service'")[0][0]

    def load(self) -> tuple[list[Batch], PublishTotals]:
        """The batches that some ledger has not recorded yet, and the totals of all publishes."""
        path, connection = self._database.path, self._database.connection
        return _batches(path, connection), _totals(path, connection)

    def store(
        self,
        batches: Iterable[Batch],
        totals: PublishTotals,
        taken: Iterable[bytes] = (),
        over: Iterable[str] = (),
    ) -> None:
        """Write batches, each at its present stage, with the totals; delete others.

        `taken`: videos that are refused no more. `over`: the keys of the batches to delete. Raises
        `WriteUnavailable`, `StoreFailure`.
        """
        with self._database.transaction() as connection:
            for key in over:
                connection.execute("DELETE FROM batches WHERE key = ?", (key,))
            for one in batches:
                connection.execute(_WRITE_BATCH, (one.key, msgspec.msgpack.encode(one)))
            _delete_refused(connection, taken)
            write_totals(connection, totals)
        # Commit before the marks: if they were ahead, a store that lost nothing would be refused.
        self._promise(totals.stores)

    def forget(self, key: str) -> None:
        """Delete a batch. Raises `WriteUnavailable`, `StoreFailure`."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM batches WHERE key = ?", (key,))

    def load_refused(self) -> list[RefusedVideo]:
        """The videos that the client refuses, in the order in which they were first refused."""
        return _refused_videos(self._database.path, self._database.connection)

    def store_refused(
        self,
        videos: Iterable[RefusedVideo],
        totals: PublishTotals,
        gone: Iterable[bytes] = (),
        forget: str = "",
    ) -> None:
        """Write refused videos and the totals; delete videos that are refused no more, and a batch.

        Raises `WriteUnavailable`, `StoreFailure`.
        """
        with self._database.transaction() as connection:
            for one in videos:
                row = one.video, msgspec.msgpack.encode(one)
                connection.execute(_WRITE_REFUSED, row)
            _delete_refused(connection, gone)
            connection.execute("DELETE FROM batches WHERE key = ?", (forget,))
            write_totals(connection, totals)

    def load_republishes(self) -> tuple[list[Republish], int]:
        """The requests to publish totals again, and the greatest number that one ever had."""
        return _republishes(self._database.path, self._database.connection)

    def store_republish(
        self, request: Republish | None, totals: PublishTotals, over: tuple[int, ...] = (), forget: str = ""
    ) -> None:
        """Write a request and the totals, delete others. Raises `WriteUnavailable`, `StoreFailure`."""
        with self._database.transaction() as connection:
            if request is not None:
                row = request.number, msgspec.msgpack.encode(request)
                connection.execute("INSERT OR REPLACE INTO republishes VALUES (?, ?)", row)
            connection.executemany("DELETE FROM republishes WHERE number = ?", [(one,) for one in over])
            connection.execute("DELETE FROM batches WHERE key = ?", (forget,))
            write_totals(connection, totals)

    def close(self) -> None:
        """Close the marks, then the file."""
        for mark in self._marks:
            mark.close()
        self._database.close()

    def _promise(self, stores: int) -> None:
        for mark in self._marks:
            mark.write(stores)


def check_content(path: Path, connection: sqlite3.Connection) -> PublishTotals:
    """Read all that a dispatcher's store has. Returns its totals. Raises `StoreFailure`."""
    _batches(path, connection)
    _republishes(path, connection)
    _refused_videos(path, connection)
    return _totals(path, connection)


def go_on_without(connection: sqlite3.Connection, why: str) -> None:
    """Prepare a dispatcher's store for a state that went back in time, in a transaction of the caller.

    Every total is published again, under other keys: the same totals may be made again by other plays. Until
    then the client may have greater totals. `why`: for the log, as in "a backup was restored".
    """
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('service', ?)", (uuid.uuid4().hex,))
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (RESTORED, why))
    request_republish_of_all(connection, why)


def _delete_refused(connection: sqlite3.Connection, videos: Iterable[bytes]) -> None:
    for video in videos:
        connection.execute("DELETE FROM refused_videos WHERE video = ?", (video,))


def request_republish_of_all(connection: sqlite3.Connection, why: str) -> int:
    """Request in a dispatcher's store of the newest format that every total is published again.

    The next start does that. Call it while no dispatcher has the store open, in a transaction of the caller.
    `why`: for the log, as in "republish 3 (all videos): the state was restored". Returns the request's
    number, which is part of the keys of its batches. So is the state's `service` in `meta`: a state that goes
    back in time needs another, or a client that knows keys takes its batches for earlier ones.
    """
    request = msgspec.msgpack.encode(Republish(0, why))  # the row has the number
    number = connection.execute("INSERT INTO republishes (content) VALUES (?)", (request,)).lastrowid
    connection.execute("DELETE FROM republishes WHERE number <> ?", (number,))
    assert number is not None
    return number


def _batches(path: Path, connection: sqlite3.Connection) -> list[Batch]:
    try:
        rows = connection.execute("SELECT content FROM batches ORDER BY rowid").fetchall()
        return [msgspec.msgpack.decode(content, type=Batch) for (content,) in rows]
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise refused(path, error) from error


def _republishes(path: Path, connection: sqlite3.Connection) -> tuple[list[Republish], int]:
    try:
        rows = connection.execute("SELECT number, content FROM republishes ORDER BY number").fetchall()
        last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'republishes'").fetchone()
        requests = [msgspec.msgpack.decode(content, type=Republish) for _, content in rows]
        numbered = zip(requests, rows, strict=True)
        return [msgspec.structs.replace(request, number=number) for request, (number, _) in numbered], last[
            0
        ] if last else 0
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise refused(path, error) from error


def _refused_videos(path: Path, connection: sqlite3.Connection) -> list[RefusedVideo]:
    try:
        rows = connection.execute("SELECT content FROM refused_videos ORDER BY rowid").fetchall()
        return [msgspec.msgpack.decode(content, type=RefusedVideo) for (content,) in rows]
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise refused(path, error) from error


def _totals(path: Path, connection: sqlite3.Connection) -> PublishTotals:
    try:
        return read_totals(connection)
    except (sqlite3.Error, ValueError) as error:
        raise refused(path, error) from error
