"""A store that can't be written for now: what the log says of it."""

import logging
from types import SimpleNamespace

from actors.system.exits import WriteUnavailable
from actors.system.logs import WriteOutage, quiet_libraries

FULL = WriteUnavailable("ledger-0.db: cannot be written for now (database or disk is full)")


def test_a_disk_that_is_full_for_three_minutes_is_three_lines_and_one_when_it_is_over(caplog):
    caplog.set_level(logging.INFO)
    clock = SimpleNamespace(ms=0)
    outage = WriteOutage(lambda: clock.ms)
    for clock.ms in range(1_000, 181_000, 500):
        outage.tried(FULL)
    clock.ms = 181_000
    outage.tried(None)
    told = "ledger-0.db: cannot be written for now (database or disk is full), trying again: nothing is lost"
    over = "the store can be written again, after 180.0 s; nothing is lost"
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        *[("ERROR", told)] * 3,
        ("INFO", over),
    ]


def test_a_single_write_that_fails_is_two_lines(caplog):
    caplog.set_level(logging.INFO)
    outage = WriteOutage(iter([0, 500]).__next__)
    outage.tried(FULL)
    outage.tried(None)
    assert len(caplog.records) == 2


def test_tornados_lines_of_an_answer_that_can_not_be_read_are_kept_out(caplog):
    """They name nobody. A line about a listener's request stays."""
    quiet_libraries()
    caplog.set_level(logging.INFO)
    tornado = logging.getLogger("tornado.general")
    tornado.info("Malformed HTTP message from %s: %s", None, "Content-Length too long")
    tornado.info("Unsatisfiable read, closing connection: delimiter")
    tornado.error("Reached maximum read buffer size")
    assert not caplog.records
    tornado.info("Malformed HTTP message from %s: %s", "127.0.0.1", "no version")
    assert [one.getMessage() for one in caplog.records] == [
        "Malformed HTTP message from 127.0.0.1: no version (said once a minute)"
    ]
