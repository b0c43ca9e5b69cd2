"""The embedded nsqd's journal: one SQLite file that holds what was acknowledged.

Promises that a write survives a kill of the process, whole or not at all.
Knows nothing of sockets, clocks or deliveries: segments go in, and come out in order. The file, its
format and its lock are in `journal_file.py`.
"""

import os
import pathlib
import random
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from ..system.transactions import transaction
from .ids import TICK_SHIFT
from .journal_file import (
    FILE_NAME,
    FORGET_PROGRESS,
    LOCK_NAME,
    RECLAIM,
    REMEMBER_TICK,
    JournalError,
    open_database,
    take_lock,
)
from .segment import Segment, segment_from_row
from .topic import Topic, TopicProgress

# Above this many free pages, pages go back to the file system, at most this many at a time.
_FREE_PAGES_KEPT = 2048
_FREE_PAGES_AT_ONCE = 1024

_REPLACE_PROGRESS = """
INSERT OR REPLACE INTO progress (sequence, channel, finished_count, finished) VALUES (?, ?, ?, ?)
"""
_READ = """
SELECT s.sequence, s.count, s.payload, s.due_ms, p.channel IS NOT NULL, p.finished
FROM segments s LEFT JOIN progress p ON p.sequence = s.sequence AND p.channel = ?
WHERE s.topic = ? AND s.sequence > ? AND s.sequence <= ? ORDER BY s.sequence
"""

Parameters: TypeAlias = tuple[int | str | bytes | None, ...] | dict[str, int]


class QueueJournal:
    """The open journal. Every method may raise `JournalError`, and has then written nothing."""

    def __init__(self, directory: pathlib.Path) -> None:
        """Open the journal in `directory`. Directory and journal are made if they are missing."""
        self.path = directory / FILE_NAME
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = take_lock(directory / LOCK_NAME, self.path)
        except OSError as error:
            raise JournalError(
                f"{directory}: cannot keep the queue's journal here ({error.strerror}); give the "
                "embedded nsqd a directory that it may write to"
            ) from error
        try:
            self._connection = open_database(self.path)
        except JournalError:
            os.close(self._lock)
            raise
        self._is_shrinking = False

    def close(self) -> None:
        """Copy the write-ahead log into the file, and release the lock."""
        try:
            self._connection.close()
        except sqlite3.Error as error:
            raise self._error("close", error) from error
        finally:
            os.close(self._lock)

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
        return self._write([("INSERT INTO topics (name) VALUES (?)", (name,))])

    def add_channel(self, topic: int, name: str, cursor: int) -> int:
        """Write down a new channel of the topic in row `topic`; returns its row."""
        insert = "INSERT INTO channels (topic, name, cursor) VALUES (?, ?, ?)"
        return self._write([(insert, (topic, name, cursor))])

    def pause_topic(self, topic: int, is_paused: bool, distributed_sequence: int) -> None:
        """Write down that a topic is paused or not, and the last segment that its channels have."""
        update = "UPDATE topics SET paused = ?, distributed = ? WHERE id = ?"
        self._write([(update, (is_paused, distributed_sequence, topic))])

    def pause_channel(self, channel: int, is_paused: bool) -> None:
        """Write down that a channel is paused or not."""
        self._write([("UPDATE channels SET paused = ? WHERE id = ?", (is_paused, channel))])

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
        self._release((delete, (channel,)), topic, channel, distributed_sequence)

    def empty_channel(self, topic: int, channel: int, distributed_sequence: int) -> None:
        """Count all messages up to `distributed_sequence` as finished by the channel."""
        update = "UPDATE channels SET cursor = ? WHERE id = ?"
        self._release((update, (distributed_sequence, channel)), topic, channel, distributed_sequence)

    # Messages.

    def append(self, segments: Iterable[tuple[int, Segment]]) -> None:
        """Write (topic row, segment) pairs, all or none. They are durable when this returns."""
        insert = "INSERT INTO segments VALUES (?, ?, ?, ?, ?)"
        self._write(
            [
                (insert, (segment.sequence, topic, segment.count, segment.due_wall_ms, segment.payload))
                for topic, segment in segments
            ]
        )

    def record(self, changes: Iterable[TopicProgress]) -> None:
        """Write down which messages were finished, all or none."""
        statements: list[tuple[str, Parameters]] = [(REMEMBER_TICK, ())]
        for change in changes:
            for sequence in change.deleted:
                statements.append(("DELETE FROM segments WHERE sequence = ?", (sequence,)))
                statements.append(("DELETE FROM progress WHERE sequence = ?", (sequence,)))
            statements.extend((_REPLACE_PROGRESS, row) for row in change.progress)
        self._write(statements)

    def read(
        self, topic: int, channel: int, after: int, through: int
    ) -> Iterator[tuple[Segment, bytes | None]]:
        """The segments of a channel with a sequence number in (after, through], in order.

        Each comes with its finished messages, as in `Progress`. Reads no further than the caller iterates.
        """
        try:
            rows = self._connection.execute(_READ, (channel, topic, after, through))
            for sequence, count, payload, due_ms, has_progress, finished in rows:
                all_finished = has_progress and finished is None
                yield (
                    segment_from_row(sequence, count, payload, due_ms),
                    b"\1" * count if all_finished else finished,
                )
        except (sqlite3.Error, ValueError) as error:
            raise self._error("read", error) from error

    def reclaim_space(self) -> None:
        """Give some of the space of finished messages back to the file system."""
        try:
            (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
            if free > _FREE_PAGES_KEPT:
                # Run as a script, because execute() stops after this pragma's first row: one page.
                vacuum = f"PRAGMA incremental_vacuum({_FREE_PAGES_AT_ONCE})"
                self._connection.executescript(vacuum)
                self._is_shrinking = True
            elif self._is_shrinking:
                # The file itself only shrinks when the write-ahead log is copied into it.
                self._is_shrinking = False
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise self._error("shrink", error) from error

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
        topic.waiting_count = topic.message_count = self._message_count(row, distributed, last_sequence)
        for channel_name, channel_row, cursor, is_paused in channels:
            channel = topic.add_channel(channel_name, channel_row, cursor)
            channel.is_paused = bool(is_paused)
            ((finished,),) = self._query(
                "SELECT COALESCE(SUM(finished_count), 0) FROM progress WHERE channel = ?", channel_row
            )
            unfinished = self._message_count(row, cursor, distributed) - finished
            channel.unread = channel.message_count = unfinished
        return topic

    def _message_count(self, topic: int, after: int, through: int) -> int:
        total = "SELECT COALESCE(SUM(count), 0) FROM segments"
        where = " WHERE topic = ? AND sequence > ? AND sequence <= ?"
        ((count,),) = self._query(total + where, topic, after, through)
        return int(count)

    def _release(self, change: tuple[str, Parameters], topic: int, channel: int, through: int) -> None:
        """Run a statement after which a channel needs no message, and delete what no other needs."""
        self._write(
            [
                (REMEMBER_TICK, ()),
                change,
                ("DELETE FROM progress WHERE channel = ?", (channel,)),
                (RECLAIM, {"topic": topic, "through": through}),
                (FORGET_PROGRESS, ()),
            ]
        )

    def _query(self, statement: str, *params: int) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, params).fetchall()
        except sqlite3.Error as error:
            raise self._error("read", error) from error

    def _write(self, statements: Iterable[tuple[str, Parameters]]) -> int:
        """Run the statements in one transaction; returns the row id that the last one made, or 0."""
        row = 0
        try:
            with transaction(self._connection):
                for statement, params in statements:
                    row = self._connection.execute(statement, params).lastrowid or 0
        except sqlite3.Error as error:
            raise self._error("write", error) from error
        return row

    def _error(self, verb: str, error: Exception) -> JournalError:
        return JournalError(f"{self.path}: cannot {verb} the queue's journal: {error}")
