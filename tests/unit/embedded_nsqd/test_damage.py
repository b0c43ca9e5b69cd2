"""What the embedded nsqd makes of a damaged journal: either it has every acknowledged message and goes on, or
it is refused by name and left as it is. A kill at any moment damages nothing.
"""

import contextlib
import os
import pathlib
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator

import pytest

from actors.embedded_nsqd import journal_file
from actors.embedded_nsqd.journal import QueueJournal
from actors.embedded_nsqd.journal_file import FILE_NAME, JournalError, JournalFile
from actors.embedded_nsqd.journal_schema import COLUMNS_OF_2, FORMAT, TABLES_OF, checksum
from actors.store.mark import Mark
from actors.system.exits import StoreFailure
from tests.formats.make import unpack
from tests.support.fuzzing import RUNS
from tests.unit.client.test_store import half_made

from .test_queue import NOW_NS, TIMES, bodies_of, channel_of, publish, queue_on, read

WAL = f"{FILE_NAME}-wal"
MARK = "../nsqd.mark"
FINISHED = {b"0", b"1", b"2"}
ACKNOWLEDGED = {
    ("plays", "c"): {b"%d" % number for number in range(3, 60)},
    ("plays", "d"): {b"%d" % number for number in range(60)},
    ("paused", "c"): {b"before"},
    ("waiting", None): {b"waits"},
}


def open_journal(folder: pathlib.Path) -> QueueJournal:
    """The journal of a service whose state folder this is."""
    return QueueJournal(folder / "nsqd", marked=folder / "nsqd")


def fill(journal: QueueJournal) -> None:
    """Half of it is in the file, and half in its -wal."""
    queue = queue_on(journal)
    channel = channel_of(queue, "plays", "c")
    channel_of(queue, "plays", "d")
    channel_of(queue, "paused", "c")
    publish(queue, "waiting", b"waits")
    publish(queue, "paused", b"before")
    for number in range(0, 60, 5):
        publish(queue, "plays", *(b"%d" % each for each in range(number, number + 5)))
        if number == 25:
            queue.pause_topic(queue.topics["paused"], True, **TIMES)
            journal._file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    subscriber, messages = read(queue, queue.topics["plays"], channel, count=3)
    assert channel.finish(subscriber, [message.id for message in messages]) == []
    channel.remove_subscriber(subscriber)
    subscriber, _ = read(queue, queue.topics["plays"], channel, count=1)
    channel.remove_subscriber(subscriber)  # so that it has an attempt
    queue.flush()


@pytest.fixture(scope="module")
def states(tmp_path_factory) -> dict[str, pathlib.Path]:
    """State folders: one as a kill leaves it, one as a stop leaves it."""
    folder = tmp_path_factory.mktemp("states")
    journal = open_journal(folder / "stopped")
    fill(journal)
    shutil.copytree(folder / "stopped", folder / "killed")
    journal.close()
    return {name: folder / name for name in ("killed", "stopped")}


@pytest.fixture(params=["killed", "stopped"])
def state(request, states) -> pathlib.Path:
    return states[request.param]


def found_in(journal: QueueJournal) -> dict[tuple[str, str | None], set[bytes]]:
    """The messages that each channel would give, and those that wait for a channel."""
    queue = queue_on(journal)
    found = {
        (name, channel): set(bodies_of(queue, name, channel))
        for name, topic in queue.topics.items()
        for channel in topic.channels
    }
    channel_of(queue, "waiting", "c")
    return found | {("waiting", None): set(bodies_of(queue, "waiting", "c"))}


def lacking(journal: QueueJournal) -> dict[tuple[str, str | None], set[bytes]]:
    found = found_in(journal)
    missing = {place: bodies - found.get(place, set()) for place, bodies in ACKNOWLEDGED.items()}
    return {place: bodies for place, bodies in missing.items() if bodies}


def judge(folder: pathlib.Path) -> str:
    """ "" if every acknowledged message is there and the queue goes on; else the text of the refusal."""
    before = contents(folder)
    try:
        journal = open_journal(folder)
    except StoreFailure as refusal:
        assert str(refusal).startswith(f"{folder / 'nsqd' / FILE_NAME}: "), "the file is not named"
        assert contents(folder) == before, "a refused journal was changed"
        return str(refusal)
    with contextlib.closing(journal):
        assert lacking(journal) == {}
        publish(queue_on(journal), "more", *[b"x" * 2000] * 20)
    with contextlib.closing(open_journal(folder)) as journal:
        assert lacking(journal) == {}
        assert queue_on(journal).topics["more"].waiting_count == 20
    return ""


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """The files that count. SQLite makes an empty -wal and a -shm when it only looks."""
    paths = [folder / "nsqd" / FILE_NAME, folder / "nsqd" / WAL, folder / "nsqd.mark"]
    return {path.name: path.read_bytes() for path in paths if path.exists() and path.stat().st_size}


@pytest.fixture
def damaged(tmp_path, state) -> Callable[[Callable[[pathlib.Path], object]], str]:
    """Damages a copy of the state and judges it."""
    copy = tmp_path / "copy"

    def tried(damage: Callable[[pathlib.Path], object]) -> str:
        shutil.copytree(state, copy)
        damage(copy / "nsqd")
        try:
            return judge(copy)
        finally:
            shutil.rmtree(copy)

    return tried


def test_what_a_kill_or_a_stop_leaves_is_whole(damaged):
    assert damaged(lambda folder: None) == ""


@pytest.mark.parametrize("name", [FILE_NAME, WAL, f"{FILE_NAME}-shm", "journal.lock", MARK])
def test_a_file_that_is_deleted_is_missed_or_not_needed(damaged, state, name):
    said = damaged(lambda folder: (folder / name).unlink(missing_ok=True))
    assert bool(said) == (name == FILE_NAME or (name == WAL and state.name == "killed"))


def test_a_folder_that_is_deleted_is_missed(damaged):
    said = damaged(shutil.rmtree)
    assert "the journal is missing, and" in said
    assert "nsqd.mark says that" in said
    assert "restore the journal from a backup; or, to begin with an empty queue, move" in said
    assert "see supervisor.state_dir" in said


LEFT = [("killed", FILE_NAME), ("killed", WAL), ("killed", MARK), ("stopped", FILE_NAME), ("stopped", MARK)]


@pytest.mark.parametrize("cut_off", [1, 100, 2000])  # the last byte is a zero, and no part of any row
def test_a_stopped_journal_that_ends_within_a_page_is_refused_even_if_it_lacks_nothing(
    states, tmp_path, cut_off
):
    shutil.copytree(states["stopped"], tmp_path, dirs_exist_ok=True)
    path = tmp_path / "nsqd" / FILE_NAME
    size = path.stat().st_size
    os.truncate(path, size - cut_off)
    assert f"it ends within a page, after {size - cut_off} bytes" in judge(tmp_path)


@pytest.mark.parametrize(("state", "name"), LEFT, indirect=["state"])
def test_a_file_that_is_cut_anywhere_is_refused_or_lacks_nothing(damaged, state, name):
    path = state / "nsqd" / name
    size = path.stat().st_size
    chance = random.Random(1)
    for cut in {0, 1, size // 2, size - 1, *(chance.randrange(size) for _ in range(20 * RUNS))}:
        said = damaged(lambda folder, cut=cut: os.truncate(folder / name, cut))
        assert bool(said) or name != WAL or cut == size - 1, f"cut after {cut} of {size} bytes"


@pytest.mark.parametrize(("state", "name"), LEFT, indirect=["state"])
def test_a_file_with_one_changed_byte_is_refused_or_lacks_nothing(damaged, state, name):
    path = state / "nsqd" / name
    size = path.stat().st_size
    chance = random.Random(2)
    for place in {*range(0, min(size, 100), 3), *(chance.randrange(size) for _ in range(100 * RUNS))}:
        said = damaged(lambda folder, place=place: change(folder / name, place, chance.randrange(1, 256)))
        assert bool(said) or name != WAL, f"byte {place} of {size}"


def change(path: pathlib.Path, place: int, by: int) -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ by]))


def test_an_older_copy_is_refused(states, tmp_path, caplog):
    shutil.copytree(states["stopped"], tmp_path / "state")
    shutil.copytree(tmp_path / "state", tmp_path / "older")
    with contextlib.closing(open_journal(tmp_path / "state")) as journal:
        publish(queue_on(journal), "plays", b"newer")
    shutil.rmtree(tmp_path / "state" / "nsqd")
    shutil.copytree(tmp_path / "older" / "nsqd", tmp_path / "state" / "nsqd")
    said = judge(tmp_path / "state")
    assert "it is an older copy. Acknowledged messages are missing; to go on with" in said
    (tmp_path / "state" / "nsqd.mark").write_bytes(b"")
    assert judge(tmp_path / "state") == "", "it goes on when it is told to"
    assert "nsqd.mark: missing or empty, expected how many commits were made in journal.sqlite" in caplog.text


@pytest.mark.parametrize("left", ["missing", "empty"])
def test_a_journal_without_a_mark_is_said_once(states, tmp_path, left, caplog):
    shutil.copytree(states["stopped"], tmp_path / "state")
    mark = tmp_path / "state" / "nsqd.mark"
    mark.unlink()
    if left == "empty":
        mark.touch()
    open_journal(tmp_path / "state").close()
    open_journal(tmp_path / "state").close()
    assert caplog.text.count(f"{mark}: missing or empty, expected how many commits were made in") == 1


def test_a_journal_that_is_gone_is_missed_though_its_mark_was_emptied(states, tmp_path):
    shutil.copytree(states["stopped"], tmp_path / "state")
    shutil.rmtree(tmp_path / "state" / "nsqd")
    (tmp_path / "state" / "nsqd.mark").write_bytes(b"")
    assert "the journal is missing, and" in judge(tmp_path / "state")


def test_a_power_cut_excuses_no_more_than_it_can_take(states, tmp_path):
    shutil.copytree(states["stopped"], tmp_path / "state")
    mark = tmp_path / "state" / "nsqd.mark"
    mark.write_bytes((3000).to_bytes(8, "little") + b"another boot....")
    assert "it is an older copy" in judge(tmp_path / "state")


def rebooted(folder: pathlib.Path) -> None:
    """Make the mark one of an earlier boot of this machine."""
    mark = folder / "nsqd.mark"
    content = mark.read_bytes()
    if content[8:] != b"\xff" * 16:
        mark.write_bytes(content[:8] + b"another boot....")


def test_a_power_cut_may_take_the_last_commits_and_the_log_says_so(states, tmp_path, caplog):
    """After a power cut the -wal may lack its end: that is no damage."""
    shutil.copytree(states["killed"], tmp_path / "state")
    rebooted(tmp_path / "state")
    size = (tmp_path / "state" / "nsqd" / WAL).stat().st_size
    os.truncate(tmp_path / "state" / "nsqd" / WAL, size // 2 + 1)
    with contextlib.closing(open_journal(tmp_path / "state")) as journal:
        assert set(lacking(journal)) <= {("plays", "c"), ("plays", "d")}
    assert "a power cut took the last moments" in caplog.text
    caplog.clear()
    open_journal(tmp_path / "state").close()
    assert caplog.text == "", "it was said once"


@pytest.mark.parametrize("name", [FILE_NAME, "."])
def test_no_power_cut_takes_the_whole_journal(states, tmp_path, name):
    shutil.copytree(states["killed"], tmp_path / "state")
    rebooted(tmp_path / "state")
    for path in [tmp_path / "state" / "nsqd" / name, tmp_path / "state" / "nsqd" / WAL]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    assert "the journal is missing, and" in judge(tmp_path / "state")


def test_no_power_cut_takes_what_was_there_at_a_stop(states, tmp_path):
    shutil.copytree(states["stopped"], tmp_path / "state")
    journal = open_journal(tmp_path / "state")
    publish(queue_on(journal), "plays", b"newer")
    shutil.copytree(tmp_path / "state" / "nsqd", tmp_path / "older")
    publish(queue_on(journal), "plays", b"newest")
    journal.close()
    shutil.rmtree(tmp_path / "state" / "nsqd")
    shutil.copytree(tmp_path / "older", tmp_path / "state" / "nsqd")
    rebooted(tmp_path / "state")
    assert "it is an older copy" in judge(tmp_path / "state")


@contextlib.contextmanager
def kills(monkeypatch, state: pathlib.Path, copies: pathlib.Path) -> Iterator[list[pathlib.Path]]:
    """In the block: what a kill at each statement and around each write of the mark would leave."""
    found: list[pathlib.Path] = []

    def kill(statement: str = "") -> None:
        found.append(copies / f"{len(found)}")
        shutil.copytree(state, found[-1])

    class KilledMark(Mark):
        def write(self, commits: int, *, is_synced: bool = False) -> None:
            kill()
            super().write(commits, is_synced=is_synced)
            kill()

    def prepare(self, connection, number, real=JournalFile._prepare):
        connection.set_trace_callback(kill)
        real(self, connection, number)

    with monkeypatch.context() as patch:
        patch.setattr(journal_file, "Mark", KilledMark)
        patch.setattr(JournalFile, "_prepare", prepare)
        yield found


def test_a_kill_at_any_moment_damages_nothing(monkeypatch, tmp_path):
    (tmp_path / "state").mkdir()
    with kills(monkeypatch, tmp_path / "state", tmp_path) as found:
        journal = open_journal(tmp_path / "state")
        queue = queue_on(journal)
        acknowledged = [(len(found), b"")]
        channel_of(queue, "t", "c")
        for body in (b"1", b"2", b"3"):
            publish(queue, "t", body)
            acknowledged.append((len(found), body))
        journal.close()
    assert len(found) > 50
    for number, folder in enumerate(found):
        with contextlib.closing(open_journal(folder)) as journal:
            queue = queue_on(journal)
            bodies = bodies_of(queue, "t", "c") if "t" in queue.topics and queue.topics["t"].channels else []
        expected = [body for kills, body in acknowledged if body and kills <= number]
        assert bodies[: len(expected)] == expected
        assert len(bodies) <= len(expected) + 1


def test_a_journal_of_the_first_format_is_rewritten_whole_or_not_at_all(monkeypatch, tmp_path):
    state = unpack("first", tmp_path)
    with kills(monkeypatch, state, tmp_path) as found:
        journal = open_journal(state)
        number = journal._query("PRAGMA user_version")
        journal.close()
    assert number == [(FORMAT,)]
    assert len(found) > 30
    for folder in [*found, state]:
        with contextlib.closing(open_journal(folder)) as journal:
            queue = queue_on(journal)
            assert queue.topics["later"].waiting_count == 5
            assert len(bodies_of(queue, "plays", "playtally")) == 0
            assert journal._query("PRAGMA integrity_check") == [("ok",)]


def make_second_format(folder: pathlib.Path) -> None:
    """Turn a journal into one of the second format."""
    columns = COLUMNS_OF_2["progress"]
    with contextlib.closing(sqlite3.connect(folder / "nsqd" / FILE_NAME, isolation_level=None)) as connection:
        connection.create_function("checksum", -1, checksum, deterministic=True)
        connection.execute("ALTER TABLE progress RENAME TO later")
        connection.execute(TABLES_OF[2][TABLES_OF[2].index("CREATE TABLE progress") :])
        connection.execute(f"INSERT INTO progress SELECT checksum({columns}), {columns} FROM later")
        connection.execute("DROP TABLE later")
        connection.execute("PRAGMA user_version = 2")


def test_a_journal_of_the_second_format_is_rewritten_whole_or_not_at_all(states, monkeypatch, tmp_path):
    state = tmp_path / "state"
    shutil.copytree(states["stopped"], state)
    make_second_format(state)
    with kills(monkeypatch, state, tmp_path) as found:
        journal = open_journal(state)
        number = journal._query("PRAGMA user_version")
        journal.close()
    assert number == [(FORMAT,)]
    assert len(found) > 5
    for folder in [*found, state]:
        assert judge(folder) == ""


def test_a_journal_of_the_second_format_that_lacks_anything_is_refused(states, tmp_path):
    shutil.copytree(states["stopped"], tmp_path / "state")
    make_second_format(tmp_path / "state")
    path = tmp_path / "state" / "nsqd" / FILE_NAME
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM segments WHERE sequence = (SELECT MIN(sequence) FROM segments)")
    assert "rows are missing" in judge(tmp_path / "state")


def test_a_journal_of_the_first_format_with_a_broken_page_is_refused(tmp_path):
    state = unpack("first", tmp_path)
    path = state / "nsqd" / FILE_NAME
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    (state / "nsqd" / WAL).unlink(missing_ok=True)
    with pytest.raises(StoreFailure, match=f"{path}: cannot be used"):
        open_journal(state)


@pytest.mark.parametrize("content", [None, b""])
def test_a_state_in_which_there_was_never_a_journal_begins_empty(tmp_path, content):
    if content is not None:  # its process was killed before the schema was committed
        (tmp_path / "nsqd").mkdir()
        (tmp_path / "nsqd" / FILE_NAME).write_bytes(content)
    with contextlib.closing(open_journal(tmp_path)) as journal:
        assert queue_on(journal).topics == {}


def test_a_wal_without_its_file_is_refused(tmp_path):
    """An earlier version left no mark."""
    (tmp_path / "nsqd").mkdir()
    (tmp_path / "nsqd" / WAL).write_bytes(b"left")
    with pytest.raises(StoreFailure, match="it is missing or empty, and its -wal is there"):
        open_journal(tmp_path)


def test_a_queue_alone_has_its_mark_in_its_directory(tmp_path):
    with contextlib.closing(QueueJournal(tmp_path / "queue")) as journal:
        publish(queue_on(journal), "t", b"1")
    (tmp_path / "queue" / FILE_NAME).unlink()
    with pytest.raises(
        StoreFailure, match=r"journal is missing, and .*queue/journal\.mark says that 3 commits"
    ):
        QueueJournal(tmp_path / "queue")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("DELETE FROM segments WHERE sequence = (SELECT MIN(sequence) FROM segments)", "rows are missing"),
        ("DELETE FROM channels WHERE name = 'd'", "rows are missing"),
        ("DELETE FROM topics WHERE name = 'waiting'", "rows are missing"),
        ("UPDATE channels SET name = 'x' WHERE name = 'd'", "the checksums of 1 rows of its table channels"),
        ("UPDATE meta SET last_tick = 0", "the checksum of its table meta"),
        ("DROP INDEX segments_by_topic", "its tables were changed"),
    ],
)
def test_a_change_that_sqlite_takes_for_right_is_refused(states, tmp_path, change, why):
    """A page that was never written, or a program that wrote to the journal."""
    shutil.copytree(states["stopped"], tmp_path / "state")
    path = tmp_path / "state" / "nsqd" / FILE_NAME
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(change)
    assert why in judge(tmp_path / "state")


def test_a_commit_that_failed_leaves_a_journal_that_is_taken(states, tmp_path):
    shutil.copytree(states["stopped"], tmp_path / "state")
    with contextlib.closing(open_journal(tmp_path / "state")) as journal:
        queue = queue_on(journal)
        (pages,) = journal._query("PRAGMA page_count")[0]
        journal._query(f"PRAGMA max_page_count = {pages}")  # a disk that is full
        waiting = queue.topics["waiting"]
        queue.stage(waiting, [b"small"], NOW_NS)
        queue.stage(waiting, [b"x" * 500_000], NOW_NS, delay_ms=1)  # a segment of its own, after the other
        with pytest.raises(JournalError, match="full"):
            queue.commit(0, NOW_NS)
        journal._query("PRAGMA max_page_count = 100000")
        publish(queue, "waiting", b"after")
    assert judge(tmp_path / "state") == ""


def test_a_process_that_is_killed_while_sqlite_makes_the_journal_is_no_loss(tmp_path):
    (tmp_path / "nsqd").mkdir()
    half_made(tmp_path / "nsqd" / FILE_NAME)
    with contextlib.closing(open_journal(tmp_path)) as journal:
        assert queue_on(journal).topics == {}
