"""`check` says of the client's totals what the next start will say."""

import asyncio
import json

import pytest

from actors.cli.check import _all
from actors.config import CountersSection, PublishSection, Settings
from actors.config.sections import ClientSection, SupervisorSection
from actors.core import guids
from actors.core.total_columns import TotalColumns
from actors.sinks.client_totals import asked_totals
from actors.store import ledger_path, open_outbox
from actors.store.backup import backup
from actors.store.client_check import check_client
from actors.store.mark import mark_path
from actors.store.restore import restore
from actors.system import runfile
from actors.system.exits import StoreFailure
from tests.unit.sinks.test_client_totals import answering
from tests.unit.store.test_older import SHARDS, V, worked


def settings_of(state_dir, url):
    publish = PublishSection(url="http://127.0.0.1:9/plays", totals_url=url, proxy="")
    return Settings(
        publish=publish,
        client=ClientSection(enabled=False),
        counters=CountersSection(shards=SHARDS),
        supervisor=SupervisorSection(state_dir=state_dir),
    )


def found_by_check(settings):
    """The verdict of `check` on the client's totals, and its words; None if it says nothing of them."""
    found = {one.what: one for one in asyncio.run(_all(settings))}.get("client's totals")
    return found and (str(found.verdict), found.found)


def start(settings):
    """Judge the client's totals as a start does. Returns why the start is refused; "" if it is not."""

    def compare(why_behind):
        totals = asked_totals(settings) or TotalColumns()
        check_client(settings.supervisor.state_dir, "http://127.0.0.1:9/plays", totals, why_behind)

    try:
        open_outbox(settings, compare).close()
    except StoreFailure as failure:
        return str(failure)
    return ""


@pytest.mark.parametrize("plays", [2, 3])
def test_a_client_that_has_no_more_than_the_ledgers_works(tmp_path, plays):
    with answering(json.dumps({guids.text(V): plays}).encode()) as url:
        settings = settings_of(worked(tmp_path, stores=1), url)
        assert found_by_check(settings) == (
            "works",
            "the client has no more plays of any video than the ledgers",
        )
        assert start(settings) == ""


def test_a_client_that_is_ahead_fails_in_the_words_of_the_start(tmp_path):
    with answering(json.dumps({guids.text(V): 5}).encode()) as url:
        settings = settings_of(worked(tmp_path, stores=1), url)
        verdict, found = found_by_check(settings)
        assert (verdict, found) == ("fails", start(settings))
        assert "has 5, and they have 3" in found


def test_after_a_restore_it_is_a_warning_and_check_forgets_nothing(tmp_path, caplog):
    state_dir = worked(tmp_path, stores=1)
    backup(state_dir, tmp_path / "copy")
    restore(tmp_path / "copy", state_dir)
    with answering(json.dumps({guids.text(V): 5}).encode()) as url:
        settings = settings_of(state_dir, url)
        for _ in range(2):
            verdict, found = found_by_check(settings)
            assert verdict == "warns"
            assert found.endswith("because a backup was restored: all totals are published again")
        assert start(settings) == ""
        assert found in caplog.messages


def test_after_an_emptied_mark_it_is_a_warning_as_at_the_start(tmp_path, caplog):
    state_dir = worked(tmp_path, stores=1)
    mark_path(ledger_path(state_dir, 0)).write_bytes(b"")
    with answering(json.dumps({guids.text(V): 5}).encode()) as url:
        settings = settings_of(state_dir, url)
        verdict, found = found_by_check(settings)
        assert verdict == "warns" and "commits of counter-0.sqlite may be lost" in found
        assert start(settings) == ""
        assert found in caplog.messages


def test_a_client_that_does_not_say_its_totals_is_a_warning(tmp_path, caplog):
    with answering(b"", 404) as url:
        settings = settings_of(worked(tmp_path, stores=1), url)
        verdict, found = found_by_check(settings)
        assert verdict == "warns" and "404" in found
        assert caplog.messages == []
        assert start(settings) == ""
        assert found in caplog.messages


def test_nothing_is_compared_while_a_service_runs_or_without_the_url(tmp_path):
    state_dir = worked(tmp_path, stores=1)
    assert found_by_check(settings_of(state_dir, "")) is None
    with answering(json.dumps({guids.text(V): 5}).encode()) as url:
        runfile.hold(state_dir, timeout_s=0)
        assert found_by_check(settings_of(state_dir, url)) is None
