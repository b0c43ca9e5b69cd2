"""A state with smaller totals than the client's is refused, unless a backup was restored."""

import contextlib
import sqlite3

import pytest

from actors.config import Settings
from actors.config.sections import SupervisorSection
from actors.core.columns import pack_numbers
from actors.core.counter.ledger import Ledger
from actors.core.counter.seen_ids import SeenIds
from actors.core.messages import Plays
from actors.core.total_columns import NoTotals, TotalColumns
from actors.store import SqliteLedgerStore, ledger_path, outbox_path
from actors.store.backup import backup
from actors.store.client_check import RESTORED, check_before_start, check_client
from actors.store.mark import mark_path
from actors.store.reshard import reshard
from actors.store.restore import restore
from actors.system.exits import StoreFailure
from tests.unit.store.test_older import V, outbox, worked

UNKNOWN = b"u" * 16
CLIENT = "http://client/plays"


@pytest.fixture
def state_dir(tmp_path):
    """The state of a service that has counted three plays of one video."""
    return worked(tmp_path, stores=1)


def is_restored(state_dir):
    with contextlib.closing(sqlite3.connect(outbox_path(state_dir))) as connection:
        return connection.execute("SELECT 1 FROM meta WHERE key = ?", (RESTORED,)).fetchone() is not None


@pytest.mark.parametrize("totals", [{}, {V: 2}, {V: 3}, {UNKNOWN: 9}, {V: 3, UNKNOWN: 9}])
def test_a_client_that_has_no_more_than_the_ledgers_is_taken(state_dir, totals):
    check_client(state_dir, CLIENT, TotalColumns.of(totals))


def test_a_state_that_is_older_than_the_clients_totals_is_refused(state_dir):
    with pytest.raises(StoreFailure) as caught:
        check_client(state_dir, CLIENT, TotalColumns.of({V: 5, UNKNOWN: 9}))
    text = str(caught.value)
    assert text.startswith(
        f"{state_dir}: the client ({CLIENT}) has more plays of 1 video than the ledgers; of "
    )
    assert " it has 5, and they have 3: all of the state is an older copy" in text
    assert "restore a backup, so that all totals are published again" in text
    assert "restore DIR`; or use another supervisor.state_dir" in text


def test_a_client_that_has_less_than_was_published_is_behind(state_dir):
    assert [check_client(state_dir, CLIENT, TotalColumns.of(totals)) for totals in ({V: 3}, {V: 2}, {})] == [
        0,
        1,
        1,
    ]


def test_a_ledger_that_can_not_be_read_is_left_to_its_counter(state_dir):
    ledger_path(state_dir, 0).write_bytes(b"no store")
    check_client(state_dir, CLIENT, TotalColumns.of({V: 5}))


def test_nothing_is_compared_where_nothing_was_counted(tmp_path):
    assert check_client(str(tmp_path), CLIENT, TotalColumns.of({V: 5})) == 0
    SqliteLedgerStore(str(tmp_path), 0, 2, "NORMAL").close()
    assert check_client(str(tmp_path), CLIENT, NeverAsked()) == 0


def test_a_client_that_does_not_say_its_totals_is_a_line_of_the_log(state_dir, caplog):
    assert check_client(state_dir, CLIENT, Silent()) == 0
    assert caplog.messages == ["it is silent"]


class NeverAsked:
    """A client that must not be asked."""


class Silent:
    """A client that does not say its totals."""

    def begin_sum(self, factors):
        def wait_for_sum():
            raise NoTotals("it is silent")

        return wait_for_sum


def test_a_check_before_the_start_says_what_the_start_will_say(state_dir, tmp_path):
    def settings(folder):
        return Settings(supervisor=SupervisorSection(state_dir=str(folder)))

    assert check_before_start(settings(tmp_path / "new"), CLIENT, TotalColumns.of({V: 5})) == ""
    with pytest.raises(StoreFailure, match="has more plays"):
        check_before_start(settings(state_dir), CLIENT, TotalColumns.of({V: 99}))


def test_after_a_restore_it_is_said_until_the_client_has_no_more(state_dir, tmp_path, caplog):
    backup(state_dir, tmp_path / "copy")
    restore(tmp_path / "copy", state_dir)
    check_client(state_dir, CLIENT, TotalColumns.of({V: 5}))
    assert "because a backup was restored: all totals are published again" in caplog.text
    check_client(state_dir, CLIENT, TotalColumns.of({V: 5}))
    assert is_restored(state_dir)
    check_client(state_dir, CLIENT, TotalColumns.of({V: 3}))
    assert not is_restored(state_dir)
    with pytest.raises(StoreFailure):
        check_client(state_dir, CLIENT, TotalColumns.of({V: 5}))


def test_a_ledger_that_goes_on_without_commits_may_be_behind_the_client(state_dir, caplog):
    mark_path(ledger_path(state_dir, 0)).write_bytes(b"")
    with outbox(state_dir):
        pass
    check_client(state_dir, CLIENT, TotalColumns.of({V: 5}))
    assert "because commits of counter-0.sqlite may be lost: all totals are published again" in caplog.text


def test_a_restored_state_that_is_divided_again_is_still_one(state_dir, tmp_path):
    backup(state_dir, tmp_path / "copy")
    restore(tmp_path / "copy", state_dir)
    reshard(state_dir, 3)
    check_client(state_dir, CLIENT, TotalColumns.of({V: 5}))


def test_totals_that_two_videos_have_exchanged_are_noticed(tmp_path):
    """Their sums are the same: the quick look at all of them must not be taken in."""
    state_dir, published = str(tmp_path), {bytes([n]) * 16: n for n in range(1, 60)}
    store = SqliteLedgerStore(state_dir, 0, 1, "NORMAL")
    accounts, chunks, tallies = store.load()
    ledger = Ledger(SeenIds(3_600_000, chunks), accounts, tallies)
    for number, (video, plays) in enumerate(published.items()):
        ids = b"".join((number * 100 + one).to_bytes(8, "big") for one in range(plays))
        ledger.apply(Plays(1, "q/plays", ids, video * plays, pack_numbers([1] * plays)), 1, 1)
    ledger.publish(published, published.values())
    store.commit(ledger.take_changes(1))
    store.close()
    exchanged = published | {bytes([3]) * 16: 4, bytes([4]) * 16: 3}
    unknown = published | {UNKNOWN: 9}
    for totals in (published, unknown, dict(list(published.items())[::-1])):
        assert check_client(state_dir, CLIENT, TotalColumns.of(totals)) == 0
    assert check_client(state_dir, CLIENT, TotalColumns.of({**published, bytes([3]) * 16: 2})) == 1
    with pytest.raises(StoreFailure, match="more plays of 1 video than the ledgers"):
        check_client(state_dir, CLIENT, TotalColumns.of(exchanged))
