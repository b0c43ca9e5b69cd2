"""Which disks are looked at, and what the log says of one that is nearly full."""

import logging
import os

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.config import Settings
from actors.config.sections import ClientSection, SupervisorSection
from actors.service.disks import Disk, DiskWatch, disks
from actors.service.metrics import metrics
from tests.chaos.disk import small_disk

from .test_status import COUNTER, status_of

FULL = Disk("state", "/srv/state", 1_000_000_000, 70_000_000, 0.93)
ROOMY = Disk("state", "/srv/state", 1_000_000_000, 500_000_000, 0.5)


def settings(path, record=""):
    return Settings(
        supervisor=SupervisorSection(state_dir=str(path)), client=ClientSection(record=str(record))
    )


def lines(caplog):
    return [(one.levelname, one.getMessage()) for one in caplog.records]


def test_a_disk_that_is_nearly_full_is_a_line_a_minute_and_one_when_it_is_over(caplog):
    caplog.set_level(logging.INFO)
    watch = DiskWatch(list)
    watch.note([ROOMY], 0)
    for now_ms in range(5_000, 185_000, 5_000):
        watch.note([FULL], now_ms)
    watch.note([ROOMY], 185_000)
    watch.note([ROOMY], 190_000)
    told = (
        "the disk of the state (/srv/state) is 93% full, 70.0 MB free: make room; "
        "once it is full, plays and publishes wait, and nothing is lost"
    )
    over = "the disk of the state (/srv/state) has room again, after 180.0 s: 50% full, 500.0 MB free"
    assert lines(caplog) == [*[("WARNING", told)] * 3, ("INFO", over)]


def test_each_disk_has_its_own_lines(caplog):
    watch = DiskWatch(list)
    log = Disk("stderr", "", 1000, 50, 0.95)
    watch.note([ROOMY, log], 0)
    watch.note([FULL, log], 5_000)
    assert [one.getMessage().partition(" is ")[0] for one in caplog.records] == [
        "the disk of the file that stderr",
        "the disk of the state (/srv/state)",
    ]
    assert "is 95% full, 0.0 MB free: make room; once it is full, log lines are missing" in caplog.text


def test_a_disk_is_shown_once_and_a_terminal_a_pipe_and_what_is_not_there_are_none(tmp_path):
    ends = os.pipe()
    try:
        assert disks(settings(tmp_path / "none"), *ends) == []
        (found,) = disks(settings(tmp_path, tmp_path), *ends)
    finally:
        for end in ends:
            os.close(end)
    assert (found.place, found.path) == ("state", str(tmp_path))
    told = os.statvfs(tmp_path)
    assert found.total_bytes == told.f_blocks * told.f_frsize
    assert 0 <= found.full <= 1


def test_the_disk_of_a_file_that_stdout_is_is_a_disk_of_its_own(tmp_path):
    with small_disk(tmp_path / "elsewhere") as small:
        file = tmp_path / "elsewhere" / "publishes"
        with file.open("wb") as out, (tmp_path / "log").open("wb") as err:
            small.fill_to(0.93)
            found = disks(settings(tmp_path), out.fileno(), err.fileno())
    assert [one.place for one in found] == ["state", "stdout"]
    assert found[1].path in {str(file), ""}  # not every system tells an open file's name
    assert found[1].nearly_full and found[1].full == pytest.approx(0.93, abs=0.01)
    assert found[1].free_bytes == pytest.approx(0.07 * found[1].total_bytes, rel=0.1)


def test_the_disks_are_in_the_status_and_in_the_metrics(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state").mkdir()
    found = status_of(COUNTER)
    (state, *_) = found["disks"]
    assert (state["place"], state["path"]) == ("state", "state")
    shown = {
        (sample.name, sample.labels["place"]): sample.value
        for family in text_string_to_metric_families(metrics(found).decode())
        for sample in family.samples
        if "place" in sample.labels
    }
    assert shown["playtally_disk_bytes", "state"] == state["bytes"]
    assert shown["playtally_disk_free_bytes", "state"] == state["free_bytes"]
