"""The reference client's store: a commit is whole or not there, at whichever moment the process is killed."""

import contextlib
import pathlib
import shutil
import uuid

import pytest

from actors.client.store import ClientStore
from actors.core.client.audit import Audit
from actors.core.client.promises import Promises, Publish, PublishedVideo
from actors.core.triggers import Trigger
from actors.system.exits import StoreFailure

VIDEOS = [str(uuid.UUID(int=number)) for number in range(1, 4)]
STAMP_NS = 1_795_502_904_123_456_789


def publish_of(number: int) -> Publish:
    """A publish of all videos: each has `number` plays."""
    return Publish(
        f"batch-{number}", Trigger.REALTIME, [PublishedVideo(one, number, STAMP_NS) for one in VIDEOS]
    )


def take(store: ClientStore, audit: Audit, number: int) -> None:
    publish = publish_of(number)
    store.commit(publish, audit.receive(publish, STAMP_NS + number), audit)


def loaded(path: pathlib.Path) -> tuple[set[int], int, int]:
    """The totals that there are, the number of publishes, and the number of keys."""
    with contextlib.closing(ClientStore(path)) as store:
        audit = store.load(Promises())
        ((keys,),) = store._database.execute("SELECT COUNT(*) FROM batches").fetchall()
    totals = {video.plays for video in audit.videos.values()}
    return totals, audit.statistics.publishes_total(), keys


def test_a_kill_at_any_moment_leaves_a_publish_whole_or_not_at_all(tmp_path):
    store = ClientStore(tmp_path / "client")
    audit = store.load(Promises())
    take(store, audit, 1)
    kills: list[pathlib.Path] = []

    def kill(statement: str) -> None:
        kills.append(tmp_path / f"{len(kills)}")
        shutil.copytree(tmp_path / "client", kills[-1])

    store._database.set_trace_callback(kill)
    take(store, audit, 2)
    store._database.set_trace_callback(None)
    store.close()
    found = [loaded(path) for path in [*kills, tmp_path / "client"]]
    assert len(found) > 6
    assert found == sorted(found, key=lambda one: one[1])
    assert set(map(str, found)) == {str(({1}, 1, 1)), str(({2}, 2, 2))}


def test_a_publish_that_fails_in_the_middle_is_not_there(tmp_path):
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
