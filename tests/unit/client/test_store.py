"""The reference client's store: a commit is whole or not there, at whichever moment the process is killed."""

import contextlib
import pathlib
import shutil
import sqlite3
import uuid

import msgspec
import pytest

from actors.client import store as client_store
from actors.client.store import FILE_NAME, JOURNAL_MAX, PAGE_BYTES, ClientStore
from actors.client.video_rows import PART_ROWS
from actors.core.client.audit import Audit, Taken
from actors.core.client.promises import Promises, Publish, PublishedVideo
from actors.core.client.videos import Video
from actors.core.triggers import Trigger
from actors.system.exits import StoreFailure

VIDEOS = [str(uuid.UUID(int=number)) for number in range(1, 4)]
STAMP_NS = 1_795_502_904_123_456_789


def publish_of(number: int) -> Publish:
    """A publish of all videos: each has `number` plays."""
    return Publish(
        f"batch-{number}", Trigger.REALTIME, [PublishedVideo(one, number, STAMP_NS) for one in VIDEOS]
    )


def take(store: ClientStore, audit: Audit, *numbers: int) -> None:
    """Take these publishes together."""
    taken = [Taken(publish_of(number), STAMP_NS + number, 0, 1, audit.promises) for number in numbers]
    store.commit(taken, audit.receive_again(taken), audit)


def loaded(path: pathlib.Path) -> tuple[set[int], int, int]:
    """The totals that there are, the number of publishes, and the number of keys."""
    with contextlib.closing(ClientStore(path)) as store:
        audit = store.load(Promises())
    totals = {video.plays for video in audit.videos.values()}
    return totals, audit.statistics.publishes_total(), len(audit.newest_keys(99))


@pytest.mark.parametrize(
    ("numbers", "journal_max", "statements"),
    [((2,), 0, 6), ((2,), JOURNAL_MAX, 1), ((2, 3), 0, 6), ((2, 3), JOURNAL_MAX, 4)],
    ids=["full journal", "journal", "two, full journal", "two, journal"],
)
def test_a_kill_at_any_moment_leaves_publishes_whole_or_not_at_all(
    tmp_path, monkeypatch, numbers, journal_max, statements
):
    monkeypatch.setattr(client_store, "JOURNAL_MAX", journal_max)
    store = ClientStore(tmp_path / "client")
    audit = store.load(Promises())
    take(store, audit, 1)
    kills: list[pathlib.Path] = []

    def kill(statement: str) -> None:
        kills.append(tmp_path / f"{len(kills)}")
        shutil.copytree(tmp_path / "client", kills[-1])

    store._database.set_trace_callback(kill)
    take(store, audit, *numbers)
    store._database.set_trace_callback(None)
    store.close()
    found = [loaded(path) for path in [*kills, tmp_path / "client"]]
    assert len(found) > statements
    assert found == sorted(found, key=lambda one: one[1])
    last = numbers[-1]
    assert set(map(str, found)) == {str(({1}, 1, 1)), str(({last}, last, last))}


def test_what_is_loaded_is_the_same_however_many_publishes_are_in_the_journal(tmp_path, monkeypatch):
    monkeypatch.setattr(client_store, "JOURNAL_MAX", 5)
    with contextlib.closing(ClientStore(tmp_path)) as store:
        audit = store.load(Promises())
        in_journal = set()
        for number in (1, 2, 9, 3, 3, 10, 11, 12, 13, 14, 15, 4, 16):  # some fall, and one comes twice
            take(store, audit, number)
            again = ClientStore.load(store, Promises())
            assert again.report() == audit.report()
            assert (again.videos, again.broken) == (audit.videos, audit.broken)
            assert again.newest_keys(99) == audit.newest_keys(99)
            in_journal.update(store._database.execute("SELECT COUNT(*) FROM journal").fetchone())
    assert in_journal == {0, 1, 2, 3, 4, 5}


def test_what_is_in_the_journal_was_judged_by_the_promises_of_its_time(tmp_path):
    with contextlib.closing(ClientStore(tmp_path)) as store:
        take(store, store.load(Promises(batch_size_max=2)), 1)
    with contextlib.closing(ClientStore(tmp_path)) as store:
        audit = store.load(Promises(batch_size_max=3))
        assert (audit.report()["promises_broken_total"], audit.promises.batch_size_max) == (1, 3)
        take(store, audit, 2)
        assert audit.report()["promises_broken_total"] == 1


VERSION_1 = """
CREATE TABLE videos (
    video_id TEXT PRIMARY KEY, plays INTEGER NOT NULL,
    received_at_ns INTEGER NOT NULL, timer_window INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE batches (
    number INTEGER PRIMARY KEY, batch TEXT NOT NULL UNIQUE, fingerprint BLOB NOT NULL
);
CREATE TABLE broken (
    number INTEGER PRIMARY KEY, promise TEXT NOT NULL, batch TEXT NOT NULL, video_id TEXT,
    expected TEXT NOT NULL, found TEXT NOT NULL
);
CREATE TABLE statistics (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), packed BLOB NOT NULL);
PRAGMA user_version = 1;
"""


def test_a_store_of_an_earlier_version_is_taken_over_and_a_later_one_is_refused(tmp_path):
    audit = Audit(Promises(deadline_s=0.000000001))
    audit.receive_again([Taken(publish_of(number), STAMP_NS + 9, 0, 1, audit.promises) for number in (1, 2)])
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as old:
        old.executescript(VERSION_1)
        rows = [
            (one, video.plays, video.received_at_ns, video.timer_window)
            for one, video in audit.videos.items()
        ]
        old.executemany("INSERT INTO videos VALUES (?, ?, ?, ?)", rows)
        old.executemany(
            "INSERT INTO batches VALUES (?, ?, ?)",
            [(2 - at, *key) for at, key in enumerate(audit.newest_keys(2))],
        )
        broken = [
            (one.promise.value, one.batch, one.video_id, one.expected, one.found) for one in audit.broken
        ]
        old.executemany(
            "INSERT INTO broken (promise, batch, video_id, expected, found) VALUES (?, ?, ?, ?, ?)", broken
        )
        old.execute("INSERT INTO statistics VALUES (1, ?)", (msgspec.msgpack.encode(audit.statistics),))
    with contextlib.closing(ClientStore(tmp_path)) as store:
        now = store.load(audit.promises)
        assert (now.report(), now.videos, now.broken) == (audit.report(), audit.videos, audit.broken)
        take(store, now, 3)
    assert loaded(tmp_path) == ({3}, 3, 3)
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as later:
        later.execute("PRAGMA user_version = 4")
    with pytest.raises(StoreFailure, match="its schema version is 4, expected 1 to 3"):
        ClientStore(tmp_path)


VERSION_2 = """
CREATE TABLE videos (
    number INTEGER PRIMARY KEY, video_id TEXT NOT NULL, plays INTEGER NOT NULL,
    received_at_ns INTEGER NOT NULL, timer_window INTEGER NOT NULL
);
CREATE TABLE batches (number INTEGER PRIMARY KEY, batch TEXT NOT NULL, fingerprint BLOB NOT NULL);
CREATE TABLE journal (number INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE broken (
    number INTEGER PRIMARY KEY, promise TEXT NOT NULL, batch TEXT NOT NULL, video_id TEXT,
    expected TEXT NOT NULL, found TEXT NOT NULL
);
CREATE TABLE statistics (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), packed BLOB NOT NULL);
PRAGMA user_version = 2;
"""


def of_version_2(path: pathlib.Path, rows: list[tuple[object, ...]], taken: list[Taken]) -> None:
    """Make a store of the version before: a row for each video, and a journal."""
    with contextlib.closing(sqlite3.connect(path / FILE_NAME, isolation_level=None)) as old:
        old.executescript("PRAGMA page_size = 1024;" + VERSION_2)
        old.execute("BEGIN")
        old.executemany("INSERT INTO videos VALUES (?, ?, ?, ?, ?)", rows)
        old.executemany(
            "INSERT INTO journal (content) VALUES (?)", [(msgspec.msgpack.encode(one),) for one in taken]
        )
        old.execute("COMMIT")


def test_a_store_with_a_row_for_each_video_goes_on_with_every_video_and_its_journal(tmp_path):
    count = 2 * PART_ROWS + 3
    rows = [
        (number, str(uuid.UUID(int=number)), number % 90 + 1, STAMP_NS + number, 7)
        for number in range(1, count + 1)
    ]
    taken = [Taken(publish_of(100), STAMP_NS + 9, 0, 1, Promises())]
    of_version_2(tmp_path, rows, taken)
    expected = {row[1]: Video(row[2], row[3], row[4], row[0]) for row in rows}
    expected |= {one: Video(100, STAMP_NS + 9, 1, expected[one].number) for one in VIDEOS}
    for publishes in (1, 2):
        with contextlib.closing(ClientStore(tmp_path)) as store:
            audit = store.load(Promises())
            assert dict(audit.videos.items()) == expected
            assert audit.statistics.publishes_total() == publishes
            take(store, audit, 200)
            assert {audit.videos[one].plays for one in VIDEOS} == {200}
            expected = dict(audit.videos.items())


def test_a_store_with_what_is_no_guid_is_refused_and_left_as_it_was(tmp_path):
    of_version_2(tmp_path, [(1, VIDEOS[0], 1, STAMP_NS, 0), (2, "x", 1, STAMP_NS, 0)], [])
    with pytest.raises(StoreFailure, match="cannot be opened: not a GUID"):
        ClientStore(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as left:
        assert left.execute("PRAGMA user_version").fetchone() == (2,)
        assert left.execute("SELECT COUNT(*) FROM videos").fetchone() == (2,)


def test_a_kill_while_a_store_is_brought_up_to_date_leaves_one_version_or_the_other(tmp_path):
    of_version_2(tmp_path, [(1, VIDEOS[0], 5, STAMP_NS, 0)], [])
    kills: list[pathlib.Path] = []

    def kill(statement: str) -> None:
        kills.append(tmp_path.with_name(f"killed-{len(kills)}"))
        shutil.copytree(tmp_path, kills[-1])

    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.set_trace_callback(kill)
        client_store._bring_up_to_date(old)
    assert len(kills) > 6
    assert {str(loaded(path)) for path in [*kills, tmp_path]} == {str(({5}, 0, 0))}


def test_a_publish_that_fails_in_the_middle_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(client_store, "JOURNAL_MAX", 0)
    store = ClientStore(tmp_path / "client")
    audit = store.load(Promises())
    take(store, audit, 1)
    store._database.execute(
        "CREATE TEMP TRIGGER fails BEFORE INSERT ON main.statistics BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(StoreFailure, match="cannot be written"):
        take(store, audit, 2)
    store.close()
    assert loaded(tmp_path / "client") == ({1}, 1, 1)


def test_the_store_is_as_durable_as_it_says(tmp_path):
    with contextlib.closing(ClientStore(tmp_path / "client")) as store:
        assert store._database.execute("PRAGMA synchronous").fetchone() == (1,)  # NORMAL
        assert store._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def filled(path: pathlib.Path) -> pathlib.Path:
    """The file of a store with a publish, as a stop leaves it."""
    with contextlib.closing(ClientStore(path)) as store:
        take(store, store.load(Promises()), 1)
    return path / FILE_NAME


def contents(path: pathlib.Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in path.iterdir()}


def test_a_page_that_is_damaged_is_refused_and_left_as_it_was(tmp_path):
    file = filled(tmp_path / "client")
    content = bytearray(file.read_bytes())
    content[PAGE_BYTES : PAGE_BYTES + 10] = b"x" * 10  # the head of the second page
    file.write_bytes(content)
    before = contents(file.parent)
    with pytest.raises(StoreFailure, match=r"client.sqlite cannot be opened: .*or restore a backup, or move"):
        ClientStore(file.parent)
    assert contents(file.parent) == before


@pytest.mark.parametrize("value", ["''", "'abc'", "x''", "x'c1'", "5", "1.5"])
@pytest.mark.parametrize(
    "damage",
    [
        "INSERT INTO journal VALUES (99, {})",
        "INSERT INTO changes VALUES (99, {})",
        "UPDATE parts SET content = {}",
        "UPDATE statistics SET packed = {}",
    ],
)
def test_a_value_that_is_damaged_is_refused_in_words(tmp_path, monkeypatch, damage, value):
    monkeypatch.setattr(client_store, "JOURNAL_MAX", 1)
    path = tmp_path / "client"
    with contextlib.closing(ClientStore(path)) as store:
        audit = store.load(Promises())
        for number in range(1, 5):  # more than the journal takes, so that all tables have something
            take(store, audit, number)
    with contextlib.closing(sqlite3.connect(path / FILE_NAME)) as connection, connection:
        assert connection.execute(damage.format(value)).rowcount == 1
    with contextlib.closing(ClientStore(path)) as store, pytest.raises(StoreFailure, match="cannot be read"):
        store.load(Promises())


def test_a_video_in_the_journal_that_is_no_guid_is_refused_in_words(tmp_path):
    file = filled(tmp_path / "client")
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        ((content,),) = connection.execute("SELECT content FROM journal").fetchall()
        at = content.rindex(b"-")
        damaged = content[: at - 1] + b"g" + content[at:]
        connection.execute("UPDATE journal SET content = ?", (damaged,))
    with (
        contextlib.closing(ClientStore(file.parent)) as store,
        pytest.raises(StoreFailure, match="cannot be read"),
    ):
        store.load(Promises())


@pytest.mark.parametrize("left", [0, 1000, 5000])
def test_a_store_that_was_cut_short_is_refused_or_said_to_be_empty(tmp_path, left, caplog):
    file = filled(tmp_path / "client")
    file.write_bytes(file.read_bytes()[:left])
    before = contents(file.parent)
    if left:
        with pytest.raises(StoreFailure, match="cannot be opened"):
            ClientStore(file.parent)
        assert contents(file.parent) == before
    else:
        ClientStore(file.parent).close()
        assert "client.sqlite: is empty. It is a new store now, without totals" in caplog.text


def test_a_wal_without_its_store_is_not_deleted(tmp_path):
    filled(tmp_path / "client")
    with contextlib.closing(ClientStore(tmp_path / "client")) as store:
        take(store, store.load(Promises()), 2)
        shutil.copytree(tmp_path / "client", tmp_path / "killed")
    (tmp_path / "killed" / FILE_NAME).write_bytes(b"")
    before = contents(tmp_path / "killed")
    with pytest.raises(StoreFailure, match="it is missing or empty, and its -wal is there"):
        ClientStore(tmp_path / "killed")
    assert contents(tmp_path / "killed") == before


def test_a_process_that_is_killed_while_sqlite_makes_the_store_is_no_loss(tmp_path):
    (tmp_path / "client").mkdir()
    half_made(tmp_path / "client" / FILE_NAME)
    assert loaded(tmp_path / "client") == (set(), 0, 0)


def half_made(file: pathlib.Path) -> None:
    """A database whose first transaction was cut off by a kill: SQLite rolls its pages back."""
    with contextlib.closing(sqlite3.connect(file.with_suffix(".made"), isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [(bytes(3000),)] * 20)
        for suffix in ("", "-journal"):
            shutil.copyfile(f"{file.with_suffix('.made')}{suffix}", f"{file}{suffix}")
