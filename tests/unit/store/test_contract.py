"""The promises of `actors/store/protocols.py`, tested on every store. Add a new store to `STORES`."""

import contextlib

import numpy as np
import pytest
from msgspec import structs

from actors.core.columns import pack_numbers
from actors.core.counter.accounts import Account, Accounts
from actors.core.counter.changes import LedgerChanges, Tallies
from actors.core.counter.seen_ids import SeenIds
from actors.core.dispatcher.outbox import Entry, PublishTotals, make_batch
from actors.core.dispatcher.refused_videos import RefusedVideo
from actors.core.dispatcher.republish import Place, Republish
from actors.core.triggers import Trigger
from actors.store import SqliteLedgerStore, SqliteOutboxStore
from actors.system.exits import WriteUnavailable
from tests.simulation.disks import LedgerDisk, OutboxDisk

V, W = b"v" * 16, b"w" * 16
BATCH = make_batch("service", Trigger.REALTIME, [Entry(V, 3, 17), Entry(W, 1, 5, True)])
OTHER = make_batch("service", Trigger.DEADLINE, [Entry(W, 2, 6)])


class Sqlite:
    """The real stores."""

    def __init__(self, path):
        self._state_dir = str(path)

    def ledger(self):
        return SqliteLedgerStore(self._state_dir, 0, 1, "NORMAL")

    def outbox(self):
        return SqliteOutboxStore(self._state_dir, 1, "NORMAL")

    @contextlib.contextmanager
    def full(self, store):
        """While the context is open, the disk of the store takes no more pages."""
        connection = store._database.connection
        ((before,),) = connection.execute("PRAGMA max_page_count").fetchall()
        connection.execute("PRAGMA max_page_count = 1")
        yield
        connection.execute(f"PRAGMA max_page_count = {before}")


class Simulated:
    """The simulation's stores. The world decides when their disk fails: `world.write`."""

    def __init__(self, path):
        self._ledger, self._outbox = LedgerDisk(), OutboxDisk()

    def ledger(self):
        return self._ledger

    def outbox(self):
        return self._outbox


STORES = [Sqlite, Simulated]


@pytest.fixture(params=STORES)
def stores(request, tmp_path):
    return request.param(tmp_path / "state")


def columns(*pairs, after=0):
    """Accounts as a commit has them: rows of one table, which come after `after` other rows."""
    table = Accounts([(b"%016d" % row, Account()) for row in range(after)] + list(pairs))
    return table.columns(np.arange(after, len(table)))


def chunks(source, *ids, at_ms=77):
    seen = SeenIds(1000)
    seen.admit(source, b"".join(one.to_bytes(8, "big") for one in ids), pack_numbers(ids), at_ms)
    return seen.take_chunks()


def changes(total=5, ids=(1, 2), source="a/plays", expired=(), counted=5):
    accounts = columns((V, Account(total, 2, 3, 10**18, 10**18 + 1, (7, 8))))
    return LedgerChanges(accounts, chunks(source, *ids), list(expired), Tallies(counted, 6, 7))


def loaded(stores):
    """What a process that starts now loads: accounts, number of seen ids, tallies."""
    with contextlib.closing(stores.ledger()) as store:
        accounts, seen, tallies = store.load()
    return dict(accounts.items()), len(SeenIds(1000, seen)), tallies


def test_a_new_ledger_is_empty(stores):
    assert loaded(stores) == ({}, 0, Tallies())


def test_what_was_committed_is_there_again(stores):
    with contextlib.closing(stores.ledger()) as store:
        store.commit(changes())
    accounts, seen, tallies = loaded(stores)
    assert accounts == dict(changes().accounts.items())
    assert (seen, tallies) == (2, Tallies(5, 6, 7))


def test_a_commit_replaces_accounts_adds_ids_and_leaves_the_rest(stores):
    with contextlib.closing(stores.ledger()) as store:
        store.commit(changes())
        store.commit(LedgerChanges(columns((W, Account(1)), after=1), chunks("a/plays", 3), [], Tallies(6)))
        store.commit(changes(total=9, ids=(4,), counted=10))
    accounts, seen, tallies = loaded(stores)
    assert (accounts[V].total, accounts[W].total, seen, tallies.counted) == (9, 1, 4, 10)


def test_ids_that_expired_are_gone_of_their_source_only(stores):
    (chunk,) = chunks("a/plays", 1, 2)
    with contextlib.closing(stores.ledger()) as store:
        store.commit(changes())
        gone = [(chunk.source, chunk.bucket)]
        store.commit(changes(ids=(1, 2, 3), source="b/plays", expired=gone))
    assert loaded(stores)[1] == 3


def test_one_write_stores_a_batch_stores_others_as_accepted_and_deletes_others(stores):
    third = make_batch("service", Trigger.DEADLINE, [Entry(V, 4, 6)])
    totals = PublishTotals(stores=3)
    with contextlib.closing(stores.outbox()) as store:
        store.store([BATCH], PublishTotals(stores=1))
        store.store([OTHER], PublishTotals(stores=2))
        store.store([OTHER.accepted(), third], totals, over=[BATCH.key, "no such batch"])
    with contextlib.closing(stores.outbox()) as store:
        batches, found = store.load()
        assert {one.key: one for one in batches} == {OTHER.key: OTHER.accepted(), third.key: third}
        assert found == totals
        store.store([], totals, over=[OTHER.key, third.key])
        assert store.load() == ([], totals)


def test_a_new_outbox_is_empty_and_has_a_service_that_stays(stores):
    with contextlib.closing(stores.outbox()) as store:
        assert store.load() == ([], PublishTotals())
        service = store.service
    with contextlib.closing(stores.outbox()) as store:
        assert store.service == service != ""


def test_the_stages_of_a_batch_replace_each_other_in_its_place_until_it_is_forgotten(stores):
    totals = PublishTotals(failed=2)
    with contextlib.closing(stores.outbox()) as store:
        store.store([BATCH], PublishTotals(failed=1))
        store.store([OTHER], PublishTotals(failed=1))
        store.store([BATCH.accepted()], totals)
    with contextlib.closing(stores.outbox()) as store:
        batches, found = store.load()
        assert sorted(one.key for one in batches) == sorted([BATCH.key, OTHER.key])
        assert {one.key: one for one in batches} == {BATCH.key: BATCH.accepted(), OTHER.key: OTHER}
        assert found == totals
        store.forget(BATCH.key)
        store.forget("no such batch")
    with contextlib.closing(stores.outbox()) as store:
        assert store.load() == ([OTHER], totals)


def test_several_videos_that_are_refused_at_once_are_all_kept(stores):
    several = [RefusedVideo(bytes([one]) * 16, 1, "422 No") for one in range(5)]
    with contextlib.closing(stores.outbox()) as store:
        store.store_refused(several, PublishTotals())
    with contextlib.closing(stores.outbox()) as store:
        assert store.load_refused() == several


def test_refused_videos_are_kept_in_their_order_until_the_client_takes_them(stores):
    first, second = RefusedVideo(V, 3, "422 No"), RefusedVideo(W, 1, "413 No", 4, True, True)
    with contextlib.closing(stores.outbox()) as store:
        assert store.load_refused() == []
        store.store([BATCH], PublishTotals())
        store.store_refused([first], PublishTotals(failed=1), forget=BATCH.key)
        store.store_refused([second], PublishTotals(failed=2))
        first = structs.replace(first, attempts=2)
        store.store_refused([first], PublishTotals(failed=3, width=7))
    with contextlib.closing(stores.outbox()) as store:
        assert store.load_refused() == [first, second]
        assert store.load() == ([], PublishTotals(failed=3, width=7))
        store.store([OTHER.accepted()], PublishTotals(), taken=[V])
    with contextlib.closing(stores.outbox()) as store:
        assert store.load_refused() == [second]
        store.store_refused((), PublishTotals(), gone=[W, b"unknown video 16"])
    with contextlib.closing(stores.outbox()) as store:
        assert store.load_refused() == []
        assert store.load()[0] == [OTHER.accepted()]


def test_a_request_to_publish_again_is_kept_with_its_place_until_it_is_over(stores):
    first, second = Republish(1, "asked for"), Republish(2, "asked for", V)
    with contextlib.closing(stores.outbox()) as store:
        assert store.load_republishes() == ([], 0)
        store.store_republish(first, PublishTotals(failed=1))
        store.store_republish(second, PublishTotals(failed=2))
        store.store([BATCH], PublishTotals(failed=2))
        gone_on = structs.replace(first, place=Place(1, 2, 1, 20, 20, 1))
        store.store_republish(gone_on, PublishTotals(republish=1), forget=BATCH.key)
    with contextlib.closing(stores.outbox()) as store:
        assert store.load_republishes() == ([gone_on, second], 2)
        assert store.load() == ([], PublishTotals(republish=1))
        store.store_republish(None, PublishTotals(republish=2), over=(1, 2))
    with contextlib.closing(stores.outbox()) as store:
        assert store.load_republishes() == ([], 2), "a number is never used again"
        assert store.load() == ([], PublishTotals(republish=2))


@pytest.mark.parametrize("stores", [Sqlite], indirect=True)  # simulated writes fail in `World.write`
def test_a_write_that_fails_for_now_leaves_nothing_and_can_be_tried_again(stores):
    many = changes(ids=range(100_000), counted=5005)
    accounts = {number.to_bytes(16, "big"): Account(1) for number in range(5000)}
    many = structs.replace(many, accounts=columns(*accounts.items(), after=1))
    with contextlib.closing(stores.ledger()) as store:
        store.commit(changes())
        with stores.full(store), pytest.raises(WriteUnavailable):
            store.commit(many)
        assert loaded_beside(store) == 5
        store.commit(many)
    found, seen, _ = loaded(stores)
    assert (len(found), seen) == (5001, 100_000)


def loaded_beside(store):
    """The number of counted plays in the file of an open store."""
    ((counted,),) = store._database.query("SELECT counted FROM tallies")
    return counted
