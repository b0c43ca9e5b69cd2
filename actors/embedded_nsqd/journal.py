"""The embedded nsqd's journal: one SQLite file that holds what was acknowledged.

Promises that a write survives a kill of the process, whole or not at all, and that a row which is damaged is
never given out. Knows nothing of sockets, clocks or deliveries: segments go in, and come out in order. The
file, its lock and its mark are in `journal_file.py`, the tables in `journal_schema.py`.
"""

import pathlib
import random
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from .ids import TICK_SHIFT
from .journal_file import JournalFile
from .journal_schema import (
    FORGET_PROGRESS,
    RECLAIM,
    REMEMBER_TICK,
    SEAL_CHANNEL,
    SEAL_TOPIC,
    Value,
    checksum,
    sealed,
)
from .names import EPHEMERAL_SUFFIX
from .segment import Segment, segment_from_row
from .topic import Topic, TopicProgress

# Above this many free pages, pages go back to the file system, at most this many at a time.
_FREE_PAGES_KEPT = 2048
_FREE_PAGES_AT_ONCE = 1024

_INSERT_TOPIC = "INSERT INTO topics VALUES (?, ?, ?, ?, ?)"
_INSERT_CHANNEL = "INSERT INTO channels VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_SEGMENT = "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_REPLACE_PROGRESS = "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?, ?, ?)"
_DELETED_AT_ONCE = 16  # a third of the cost that one statement a segment has; more gains little
_OF_MANY = f"WHERE sequence IN ({', '.join('?' * _DELETED_AT_ONCE)})"
_READ = """
SELECT s.checksum, s.sequence, s.topic, s.count, s.due_ms, s.commits, s.digest, s.payload,
       p.checksum, p.channel, p.finished_count, p.finished, p.attempts
FROM segments s LEFT JOIN progress p ON p.sequence = s.sequence AND p.channel = ?
WHERE s.topic = ? AND s.sequence > ? AND s.sequence <= ? ORDER BY s.sequence
"""
_EVERY_SEQUENCE = (1 << 63) - 1

Statement: TypeAlias = tuple[str, tuple[Value, ...] | dict[str, int]]


class QueueJournal:
    """The open journal.

    Every method may raise `JournalError`, and has then written nothing; or `StoreFailure`, if the journal
    can't be used any more.
    """

    def __init__(self, directory: pathlib.Path, marked: pathlib.Path | None = None) -> None:
        """Open the journal in `directory`. `marked`: as in `JournalFile`."""
        self._file = JournalFile(directory, marked)
        self._is_shrinking = False
        self._changes_looked = -1
        try:
            self._forget_ephemeral()
        except BaseException:
            self._file.close()
            raise

    @property
    def path(self) -> pathlib.Path:
        """The journal's file."""
        return self._file.path

    def close(self) -> None:
        """Copy the write-ahead log into the file, and release the lock."""
        self._file.close()

    # Topics and channels.

    def last_tick(self) -> int:
        """The highest tick of the id clock that any process has used with this journal."""
        ((tick,),) = self._query("SELECT last_tick FROM meta")
        ((sequence,),) = self._query("SELECT COALESCE(MAX(sequence), 0) FROM segments")
        last: int = max(tick, sequence >> TICK_SHIFT)
        return last

    def topics(self, sampler: random.Random) -> list[Topic]:
        """All topics with their channels, oldest first. `sampler`: as in `Topic`."""
        rows = self._query("SELECT id, name, paused, distributed FROM topics ORDER BY id")
        return [self._topic(sampler, *row) for row in rows]

    def add_topic(self, name: str) -> int:
        """Write down a new topic; returns its row."""
        row = self._next_row("topics")
        self._write([(_INSERT_TOPIC, sealed(row, name, 0, 0))])
        return row

    def add_channel(self, topic: int, name: str, cursor: int) -> int:
        """Write down a new channel of the topic in row `topic`; returns its row."""
        row = self._next_row("channels")
        self._write([(_INSERT_CHANNEL, sealed(row, topic, name, 0, cursor))])
        return row

    def pause_topic(self, topic: int, is_paused: bool, distributed_sequence: int) -> None:
        """Write down that a topic is paused or not, and the last segment that its channels have."""
        update = "UPDATE topics SET paused = ?, distributed = ? WHERE id = ?"
        self._write([(update, (is_paused, distributed_sequence, topic)), (SEAL_TOPIC, (topic,))])

    def pause_channel(self, channel: int, is_paused: bool) -> None:
        """Write down that a channel is paused or not."""
        update = "UPDATE channels SET paused = ? WHERE id = ?"
        self._write([(update, (is_paused, channel)), (SEAL_CHANNEL, (channel,))])

    def delete_topic(self, topic: int) -> None:
        """Delete a topic, its channels and its messages."""
        self._write(
            [
                (REMEMBER_TICK, ()),
                ("DELETE FROM segments WHERE topic = ?", (topic,)),
                ("DELETE FROM channels WHERE topic = ?", (topic,)),
                ("DELETE FROM topics WHERE id = ?", (topic,)),
                (FORGET_PROGRESS, ()),
            ]
        )

    def empty_topic(self, topic: int, distributed_sequence: int) -> None:
        """Delete the messages that no channel has yet: those after `distributed_sequence`."""
        delete = "DELETE FROM segments WHERE topic = ? AND sequence > ?"
        self._write([(REMEMBER_TICK, ()), (delete, (topic, distributed_sequence))])

    def delete_channel(self, topic: int, channel: int, distributed_sequence: int) -> None:
        """Delete a channel, and the messages that no other channel needs."""
        delete = "DELETE FROM channels WHERE id = ?"
        self._release([(delete, (channel,))], topic, channel, distributed_sequence)

    def empty_channel(self, topic: int, channel: int, distributed_sequence: int) -> None:
        """Count all messages up to `distributed_sequence` as finished by the channel."""
        update = "UPDATE channels SET cursor = ? WHERE id = ?"
        changes: list[Statement] = [(update, (distributed_sequence, channel)), (SEAL_CHANNEL, (channel,))]
        self._release(changes, topic, channel, distributed_sequence)

    # Messages.

    def append(self, segments: Iterable[tuple[int, Segment]]) -> None:
        """Write (topic row, segment) pairs, all or none. They are durable when this returns."""
        file = self._file
        number = file.commits + 1
        with file.append() as connection:
            for topic, one in segments:
                columns = (one.sequence, topic, one.count, one.due_wall_ms, number, file.digest, one.payload)
                seal = checksum(*columns)
                connection.execute(_INSERT_SEGMENT, (seal, *columns))
                file.digest += seal

    def record(self, changes: Iterable[TopicProgress]) -> None:
        """Write down which messages were finished, and attempts, all or none."""
        statements: list[Statement] = [(REMEMBER_TICK, ())]
        for change in changes:
            for start in range(0, len(change.deleted), _DELETED_AT_ONCE):
                some = change.deleted[start : start + _DELETED_AT_ONCE]
                padded = (*some, *some[-1:] * (_DELETED_AT_ONCE - len(some)))
                statements.append((f"DELETE FROM segments {_OF_MANY}", padded))
                statements.append((f"DELETE FROM progress {_OF_MANY}", padded))
            statements.extend((_REPLACE_PROGRESS, sealed(*row)) for row in change.progress)
        self._write(statements)

    def read(
        self, topic: int, channel: int, after: int, through: int
    ) -> Iterator[tuple[Segment, bytes | None, bytes | None]]:
        """The segments of a channel with a sequence number in (after, through], in order.

        Each comes with its finished messages and its attempts, as in `Progress`. Reads no further than the
        caller iterates.
        """
        try:
            rows = self._file.connection.execute(_READ, (channel, topic, after, through))
            for row in rows:
                yield self._segment(*row[:8]), *self._progress(row[1], row[3], *row[8:])
        except sqlite3.Error as error:
            raise self._file.failure("read", error) from error

    @property
    def is_shrinking(self) -> bool:
        """Whether `reclaim_space` has more to do."""
        return self._is_shrinking

    def reclaim_space(self) -> None:
        """Give some of the space of finished messages back to the file system.

        It looks only after changes, because that takes a lock of the file.
        """
        changes = self._file.connection.total_changes
        if changes == self._changes_looked and not self._is_shrinking:
            return
        self._changes_looked = changes
        try:
            (free,) = self._file.connection.execute("PRAGMA freelist_count").fetchone()
            if free > _FREE_PAGES_KEPT:
                # Run as a script, because execute() stops after this pragma's first row: one page.
                vacuum = f"PRAGMA incremental_vacuum({_FREE_PAGES_AT_ONCE})"
                self._file.connection.executescript(vacuum)
                self._is_shrinking = True
            elif self._is_shrinking:
                # The file itself only shrinks when the write-ahead log is copied into it.
                self._is_shrinking = False
                self._file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise self._file.failure("shrink", error) from error

    # Helpers.

    def _topic(self, sampler: random.Random, row: int, name: str, paused: int, distributed: int) -> Topic:
        topic = Topic(name, row, sampler)
        topic.is_paused = bool(paused)
        channels = self._query("SELECT name, id, cursor, paused FROM channels WHERE topic=?", row)
        ((last_sequence,),) = self._query(
            "SELECT COALESCE(MAX(sequence), 0) FROM segments WHERE topic = ?", row
        )
        if channels and not paused:
            distributed = last_sequence
        elif not channels:
            distributed = 0
        topic.distributed_sequence = distributed
        topic.last_sequence = max(last_sequence, distributed)
        topic.waiting_count = self._message_count(row, distributed, last_sequence)
        for channel_name, channel_row, cursor, is_paused in channels:
            channel = topic.add_channel(channel_name, channel_row, cursor)
            channel.is_paused = bool(is_paused)
            ((finished,),) = self._query(
                "SELECT COALESCE(SUM(finished_count), 0) FROM progress WHERE channel = ?", channel_row
            )
            channel.unread = self._message_count(row, cursor, distributed) - finished
        return topic

    def _message_count(self, topic: int, after: int, through: int) -> int:
        total = "SELECT COALESCE(SUM(count), 0) FROM segments"
        where = " WHERE topic = ? AND sequence > ? AND sequence <= ?"
        ((count,),) = self._query(total + where, topic, after, through)
        return int(count)

    def _segment(self, stored: int, *columns: Any) -> Segment:
        """The segment of a row of `_READ`: the stored checksum, and the columns that it covers."""
        sequence, _, count, due_ms, _, _, payload = columns
        if checksum(*columns) != stored:
            raise self._file.refused(f"the checksum of segment {sequence} does not match")
        return segment_from_row(sequence, count, payload, due_ms)

    def _progress(
        self,
        sequence: int,
        count: int,
        stored: int | None,
        channel: int,
        finished_count: int,
        finished: bytes | None,
        attempts: bytes | None,
    ) -> tuple[bytes | None, bytes | None]:
        """The finished messages and attempts of a row of `_READ`. `stored`: the checksum of these."""
        if stored is None:
            return None, None
        if checksum(sequence, channel, finished_count, finished, attempts) != stored:
            raise self._file.refused(f"the checksum of the progress of segment {sequence} does not match")
        return b"\1" * count if finished is None else finished, attempts

    def _forget_ephemeral(self) -> None:
        """Delete ephemeral channels, which end with their process, and messages that only they needed."""
        pattern = f"%{EPHEMERAL_SUFFIX}"
        gone = self._query("SELECT id, topic FROM channels WHERE name LIKE ?", pattern)
        left = self._query(
            "SELECT DISTINCT t.id, t.paused, t.distributed FROM topics t JOIN channels c ON c.topic = t.id "
            "WHERE c.name NOT LIKE ?",
            pattern,
        )
        if gone:
            statements: list[Statement] = [(REMEMBER_TICK, ())]
            for channel, _ in gone:
                statements.append(("DELETE FROM channels WHERE id = ?", (channel,)))
                statements.append(("DELETE FROM progress WHERE channel = ?", (channel,)))
            for topic, is_paused, distributed in left:
                through = distributed if is_paused else _EVERY_SEQUENCE
                statements.append((RECLAIM, {"topic": topic, "through": through}))
            self._write([*statements, (FORGET_PROGRESS, ())])

    def _release(self, changes: list[Statement], topic: int, channel: int, through: int) -> None:
        """Run statements after which a channel needs no message, and delete what no other needs."""
        self._write(
            [
                (REMEMBER_TICK, ()),
                *changes,
                ("DELETE FROM progress WHERE channel = ?", (channel,)),
                (RECLAIM, {"topic": topic, "through": through}),
                (FORGET_PROGRESS, ()),
            ]
        )

    def _next_row(self, table: str) -> int:
        ((row,),) = self._query(f"SELECT COALESCE(MAX(id), 0) + 1 FROM {table}")
        return int(row)

    def _query(self, statement: str, *params: int | str) -> list[tuple[Any, ...]]:
        try:
            return self._file.connection.execute(statement, params).fetchall()
        except sqlite3.Error as error:
            raise self._file.failure("read", error) from error

    def _write(self, statements: Iterable[Statement]) -> None:
        """Run the statements in one transaction."""
        with self._file.transaction() as connection:
            for statement, params in statements:
                connection.execute(statement, params)
