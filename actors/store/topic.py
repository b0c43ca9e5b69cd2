"""The topic whose plays a state counts. Plays of another topic would add up with them.

The dispatcher's store has it. A state begins with the topic of its first start. Another one is refused until
`accept_topic` has taken it.
"""

import os
import sqlite3
from pathlib import Path

from ..system import runfile
from ..system.exits import Failure, StoreFailure
from ..system.installation import service_command
from ..system.locks import lock_file
from ..system.ownership import check_owner
from ..system.transactions import Transaction
from .database import open_read_only
from .folder import find

TOPIC = "topic"  # its key in `meta`


def check_topic(path: Path, connection: sqlite3.Connection, topic: str) -> None:
    """Raise `StoreFailure` if the state counts the plays of another topic. `path`: the dispatcher's store."""
    before = _topic_of(connection)
    if before not in (None, topic):
        raise StoreFailure(
            f"{path}: its totals are of nsq.topic = {before!r}, and now it is {topic!r}: the plays of both "
            f"would add up. Set nsq.topic back to {before!r}, or use another supervisor.state_dir. If the "
            f"plays of both shall add up, accept the topic with `{service_command()} accept-topic`, with the "
            "same settings"
        )


def accept_topic(state_dir: str, topic: str) -> str | None:
    """Have a state count the plays of `topic` from now on, while no service runs.

    Returns the topic before, or None if there was none. Raises `Failure`.
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
                before = _topic_of(connection)
            writer = sqlite3.connect(path, isolation_level=None)
            try:
                with Transaction(writer):
                    writer.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (TOPIC, topic))
            finally:
                writer.close()
        finally:
            os.close(own)
    except sqlite3.Error as error:
        raise Failure(f"{state_dir}: the topic is not accepted ({error}); nothing is changed") from error
    finally:
        os.close(lock)
    return before


def _topic_of(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (TOPIC,)).fetchone()
    return None if row is None else str(row[0])


def _hold(state_dir: str) -> int:
    try:
        return runfile.hold(state_dir, timeout_s=0.5)
    except StoreFailure as failure:
        raise Failure(
            f"a service (or another command) uses {state_dir}: stop it with `{service_command()} stop` and "
            "the settings that it was started with"
        ) from failure
