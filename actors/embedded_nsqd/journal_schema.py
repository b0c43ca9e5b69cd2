"""The journal's tables, their checksums, and the step from the earlier format.

Each row of each table begins with a checksum of its other columns. `meta` has one row:

    last_tick  the highest tick of the id clock in deleted segments, so that ids rise after a restart too
    commits    how many commits were made; the mark beside the journal promises them
    digest     the sum of the checksums in all other tables, which triggers keep: no row is lost unnoticed

The other tables:

    topics     name, pause; `distributed`: the last segment that the channels have, kept only during a pause
    channels   name, pause; `cursor`: the channel does not get the segments up to this one
    segments   one row per segment; deleted when every channel has finished all of it
    progress   one row per channel and segment: one byte per message, 1 if finished; NULL if all are finished

Formats: 1 had neither checksums nor commits. A journal of format 1 is rewritten in one transaction when it
is opened.
"""

import zlib
from typing import TypeAlias

import msgspec

from .ids import TICK_SHIFT

FORMAT = 2
APPLICATION_ID = 0x706C6179  # "play": marks the file as a journal of this program

Value: TypeAlias = int | str | bytes | None

# The columns that a row's checksum covers.
COLUMNS = {
    "topics": "id, name, paused, distributed",
    "channels": "id, topic, name, paused, cursor",
    "segments": "sequence, topic, count, due_ms, payload",
    "progress": "sequence, channel, finished_count, finished",
}
META_COLUMNS = "last_tick, commits, digest"

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
    count INTEGER NOT NULL, due_ms INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE INDEX segments_by_topic ON segments (topic, sequence, count);
CREATE TABLE progress (
    checksum INTEGER NOT NULL, sequence INTEGER NOT NULL, channel INTEGER NOT NULL,
    finished_count INTEGER NOT NULL, finished BLOB, PRIMARY KEY (sequence, channel)) WITHOUT ROWID;
"""
_TRIGGERS = "".join(
    f"CREATE TRIGGER {table}_{event} AFTER {event} ON {table} "
    f"BEGIN UPDATE meta SET digest = digest {change}; END;\n"
    for table in COLUMNS
    for event, change in (
        ("INSERT", "+ new.checksum"),
        ("UPDATE", "- old.checksum + new.checksum"),
        ("DELETE", "- old.checksum"),
    )
)
_FIRST_COMMIT = f"INSERT INTO meta ({META_COLUMNS}, checksum) VALUES (0, 1, 0, checksum(0, 1, 0));\n"
SCHEMA = f"""
{_TABLES}{_TRIGGERS}{_FIRST_COMMIT}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""
MAKE = f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;"

# Ends every transaction.
COUNT_COMMIT = "UPDATE meta SET commits = commits + 1, checksum = checksum(last_tick, commits + 1, digest)"
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

FROM_1 = f"""
BEGIN IMMEDIATE;
DROP INDEX segments_by_topic;
{"".join(f"ALTER TABLE {table} RENAME TO {table}_1;" for table in ("meta", *COLUMNS))}
{SCHEMA}
{
    "".join(
        f"INSERT INTO {table} ({columns}, checksum) SELECT {columns}, checksum({columns}) FROM {table}_1;"
        for table, columns in COLUMNS.items()
    )
}
UPDATE meta SET last_tick = (SELECT last_tick FROM meta_1);
{"".join(f"DROP TABLE {table}_1;" for table in ("meta", *COLUMNS))}
{COUNT_COMMIT};
COMMIT;
"""


def checksum(*values: Value) -> int:
    """The CRC-32 of the columns of a row, in the order of `COLUMNS`. SQL has this function too."""
    return zlib.crc32(msgspec.msgpack.encode(values))


def sealed(*values: Value) -> tuple[Value, ...]:
    """A whole row: the checksum, then the columns in the order of `COLUMNS`."""
    return checksum(*values), *values
