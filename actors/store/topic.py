"""The topic whose plays a state counts, and the key by which their bodies name them (`nsq.play_id`).

Plays of another topic would add up with them. With another key, a play that was counted and is not finished
on the queue would be counted again. So a state begins with the topic and the key of its first start, and
others are refused until `accept_topic` has taken them. The dispatcher's store has both.
"""

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from ..system import runfile
from ..system.exits import Failure, StoreFailure
from ..system.installation import service_command
from ..system.locks import lock_file
from ..system.ownership import check_owner
from ..system.transactions import Transaction
from .database import open_read_only
from .folder import find

# Their keys in `meta`.
TOPIC = "topic"
PLAY_ID = "play_id"


class Counted(NamedTuple):
    """What a state counts. `topic`: None if the state does not say. `play_id`: as in `nsq.play_id`."""

    topic: str | None
    play_id: str

    def rows(self) -> list[tuple[str, str]]:
        """These facts as rows of `meta`."""
        return [] if self.topic is None else [(TOPIC, self.topic), (PLAY_ID, self.play_id)]


def check_topic(path: Path, connection: sqlite3.Connection, topic: str, play_id: str) -> None:
    """Raise `StoreFailure` if the state counts the plays of another topic, or tells them by another key.

    `path`: the dispatcher's store.
    """
    before = _counted_by(connection)
    if before.topic is None:
        return
    command = f"`{service_command()} accept-topic`, with the same settings"
    if before.topic != topic:
        raise StoreFailure(
            f"{path}: its totals are of nsq.topic = {before.topic!r}, and now it is {topic!r}: the plays of "
            f"both would add up. Set nsq.topic back to {before.topic!r}, or use another "
            f"supervisor.state_dir. If the plays of both shall add up, accept the topic with {command}"
        )
    if before.play_id != play_id:
        raise StoreFailure(
            f"{path}: its plays are told apart by nsq.play_id = {before.play_id!r}, and now it is "
            f"{play_id!r}: a play that was counted by the one would be counted again if it came again. Set "
            f"nsq.play_id back to {before.play_id!r}, or use another supervisor.state_dir. If the service "
            f"ended in order, so that the queue gives no play again, accept the key with {command}"
        )


def accept_topic(state_dir: str, topic: str, play_id: str = "") -> Counted:
    """Have a state count the plays of `topic`, told apart by `play_id`, from now on, while no service runs.

    Returns what it counted before. Raises `Failure`.
    """
    check_owner(state_dir)
    ledgers = find(state_dir) if Path(state_dir).is_dir() else None
    if ledgers is None:
        raise Failure(f"no ledgers in {state_dir}, expected the state folder of a service that has run")
    lock = _hold(state_dir)
    try:
        path = ledgers.outbox(state_dir)
        # If the supervisor was killed, its dispatcher may still run for a moment. So wait for its lock.
        own = lock_file(path.with_suffix(".lock"))
        try:
            with open_read_only(path) as connection:
                before = _counted_by(connection)
            writer = sqlite3.connect(path, isolation_level=None)
            try:
                with Transaction(writer):
                    facts = Counted(topic, play_id).rows()
                    writer.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts)
            finally:
                writer.close()
        finally:
            os.close(own)
    except sqlite3.Error as error:
        raise Failure(f"{state_dir}: the topic is not accepted ({error}); nothing is changed") from error
    finally:
        os.close(lock)
    return before


def _counted_by(connection: sqlite3.Connection) -> Counted:
    rows = connection.execute("SELECT key, value FROM meta WHERE key IN (?, ?)", (TOPIC, PLAY_ID))
    found = {str(key): str(value) for key, value in rows}
    # A state of an earlier version has a topic only: it told plays apart by NSQ's ids.
    return Counted(found.get(TOPIC), found.get(PLAY_ID, ""))


def _hold(state_dir: str) -> int:
    try:
        return runfile.hold(state_dir, timeout_s=0.5)
    except StoreFailure as failure:
        raise Failure(
            f"a service (or another command) uses {state_dir}: stop it with `{service_command()} stop` and "
            "the settings that it was started with"
        ) from failure
