"""The journal's tables, their checksums, and the steps from the earlier formats.

    meta       one row: the highest tick of the id clock in deleted segments, so that ids rise after a restart
               too; commits and digest after the last commit that was no append
    topics     name, pause; `distributed`: the last segment that the channels have, kept only during a pause
    channels   name, pause; `cursor`: the channel does not get the segments up to this one
    segments   one row per segment; deleted when every channel has finished all of it. Commits and digest as
               they were when it was appended: an append then writes no page of another table
    progress   one row per channel and segment: one byte per message, 1 if finished; NULL if all are finished;
               two bytes per message: how often it came back unfinished; NULL if none did

Each row begins with a checksum of its other columns. `commits` counts the commits, as the mark beside the
journal does. `digest` is the sum of the checksums of all topics, channels and segments; in a segment, of all
that were there before it. So none of them is lost or comes back unnoticed. If a row of progress is lost, its
messages are only delivered again.

Formats: 1 had neither checksums nor commits, 2 had no attempts. A journal of an earlier format is rewritten
in one transaction when it is opened; of format 2, the progress alone.
"""

import zlib
from typing import TypeAlias

import msgspec

from .ids import TICK_SHIFT

FORMAT = 3
APPLICATION_ID = 0x706C6179  # "play": marks the file as a journal of this program

Value: TypeAlias = int | str | bytes | None

# The columns that a row's checksum covers: all others.
META_COLUMNS = "last_tick, commits, digest"
COLUMNS = {
    "topics": "id, name, paused, distributed",
    "channels": "id, topic, name, paused, cursor",
    "segments": "sequence, topic, count, due_ms, commits, digest, payload",
    "progress": "sequence, channel, finished_count, finished, attempts",
}
COLUMNS_OF_2 = COLUMNS | {"progress": "sequence, channel, finished_count, finished"}
DIGESTED = ("topics", "channels", "segments")

_TABLES = """
CREATE TABLE meta (
    checksum INTEGER NOT NULL, last_tick INTEGER NOT NULL, commits INTEGER NOT NULL,
    digest INTEGER NOT NULL);
CREATE TABLE topics (
    checksum INTEGER NOT NULL, id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    paused INTEGER NOT NULL, distributed INTEGER NOT NULL);
CREATE TABLE channels (
    checksum INTEGER NOT NULL, id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, name TEXT NOT NULL,
    paused INTEGER NOT NULL, cursor INTEGER NOT NULL, UNIQUE (topic, name));
CREATE TABLE segments (
    checksum INTEGER NOT NULL, sequence INTEGER PRIMARY KEY, topic INTEGER NOT NULL,
    count INTEGER NOT NULL, due_ms INTEGER NOT NULL, commits INTEGER NOT NULL, digest INTEGER NOT NULL,
    payload BLOB NOT NULL);
CREATE INDEX segments_by_topic ON segments (topic, sequence, count);
"""
_PROGRESS = """
CREATE TABLE progress (
    checksum INTEGER NOT NULL, sequence INTEGER NOT NULL, channel INTEGER NOT NULL,
    finished_count INTEGER NOT NULL, finished BLOB, attempts BLOB, PRIMARY KEY (sequence, channel))
    WITHOUT ROWID;
"""
_PROGRESS_OF_2 = """
CREATE TABLE progress (
    checksum INTEGER NOT NULL, sequence INTEGER NOT NULL, channel INTEGER NOT NULL,
    finished_count INTEGER NOT NULL, finished BLOB, PRIMARY KEY (sequence, channel)) WITHOUT ROWID;
"""
_MARK = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
_SCHEMA = _TABLES + _PROGRESS + _MARK
MAKE = f"BEGIN IMMEDIATE; {_SCHEMA} INSERT INTO meta VALUES (checksum(0, 1, 0), 0, 1, 0); COMMIT;"
TABLES_OF = {2: _TABLES + _PROGRESS_OF_2, FORMAT: _TABLES + _PROGRESS}  # of each format with checksums

# Of the writing connection: they call `moved` with each change of the digest. An append adds to it itself,
# which costs less.
TRIGGERS = "".join(
    f"CREATE TEMP TRIGGER {table}_{event} AFTER {event} ON main.{table} BEGIN SELECT moved({change}); END;\n"
    for table in DIGESTED
    for event, change in (
        ("INSERT", "new.checksum"),
        ("UPDATE", "new.checksum - old.checksum"),
        ("DELETE", "-old.checksum"),
    )
    if (table, event) != ("segments", "INSERT")
)

# At the end of each transaction but an append: commits, digest, and both again.
COUNT_COMMIT = "UPDATE meta SET commits = ?, digest = ?, checksum = checksum(last_tick, ?, ?)"
# After a change of the row with this id.
SEAL_TOPIC = f"UPDATE topics SET checksum = checksum({COLUMNS['topics']}) WHERE id = ?"
SEAL_CHANNEL = f"UPDATE channels SET checksum = checksum({COLUMNS['channels']}) WHERE id = ?"

# Runs before segments are deleted, because the highest may be the only trace of the last id.
REMEMBER_TICK = f"""
UPDATE meta SET last_tick = MAX(
    last_tick, (SELECT COALESCE(MAX(sequence), 0) FROM segments) >> {TICK_SHIFT})
"""
# Deletes the segments that no channel needs: every channel has finished them or does not get them.
RECLAIM = """
DELETE FROM segments WHERE topic = :topic AND sequence <= :through AND NOT EXISTS (
    SELECT 1 FROM channels WHERE channels.topic = :topic AND segments.sequence > channels.cursor
    AND NOT EXISTS (SELECT 1 FROM progress WHERE progress.sequence = segments.sequence
                    AND progress.channel = channels.id AND progress.finished IS NULL))
"""
FORGET_PROGRESS = """
DELETE FROM progress WHERE NOT EXISTS (
    SELECT 1 FROM segments WHERE segments.sequence = progress.sequence)
"""

_OF_1 = COLUMNS | {
    "segments": "sequence, topic, count, due_ms, 0, 0, payload",
    "progress": "sequence, channel, finished_count, finished, NULL",
}
FROM_1 = f"""
BEGIN IMMEDIATE;
DROP INDEX segments_by_topic;
{"".join(f"ALTER TABLE {table} RENAME TO {table}_1;" for table in ("meta", *_OF_1))}
{_SCHEMA}
{
    "".join(
        f"INSERT INTO {table} (checksum, {COLUMNS[table]}) "
        f"SELECT checksum({columns}), {columns} FROM {table}_1;"
        for table, columns in _OF_1.items()
    )
}
INSERT INTO meta SELECT 0, last_tick, 1,
    {" + ".join(f"(SELECT COALESCE(SUM(checksum), 0) FROM {table})" for table in DIGESTED)} FROM meta_1;
UPDATE meta SET checksum = checksum({META_COLUMNS});
{"".join(f"DROP TABLE {table}_1;" for table in ("meta", *_OF_1))}
COMMIT;
"""

FROM_2 = f"""
BEGIN IMMEDIATE;
ALTER TABLE progress RENAME TO progress_2;
{_PROGRESS}
INSERT INTO progress SELECT checksum({_OF_1["progress"]}), {_OF_1["progress"]} FROM progress_2;
DROP TABLE progress_2;
{_MARK}
COMMIT;
"""


def checksum(*values: Value) -> int:
    """The CRC-32 of the columns of a row, in the order of `COLUMNS`. SQL has this function too."""
    return zlib.crc32(msgspec.msgpack.encode(values))


def sealed(*values: Value) -> tuple[Value, ...]:
    """A whole row: the checksum, then the columns in the order of `COLUMNS`."""
    return checksum(*values), *values
