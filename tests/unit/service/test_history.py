"""The history of the operator's page: what it shows, and what it survives."""

import math
import os
import stat

import pytest

from actors.service.history import COUNTS, LEVELS, SPANS, History, sample_of, series_names
from actors.service.history_file import NAME

START_S = 1_800_000_000.0  # a whole multiple of both steps


def sample(**values):
    return dict.fromkeys(COUNTS, 0.0) | dict.fromkeys(LEVELS, 0.0) | values


@pytest.fixture
def history(tmp_path):
    opened = History(tmp_path)
    opened.open()
    yield opened
    opened.close()


def reopened(history, tmp_path):
    """Another history on the same file, as after a kill: nothing closed the first one."""
    again = History(tmp_path)
    again.open()
    return again


def column(history, name, now_s, span="hour"):
    return history.shown(span, now_s)["series"][name]


def test_rates_come_from_the_time_that_passed_and_levels_are_shown_as_they_are(history):
    history.add(sample(counted=100, realtime=4, published=40, pending_videos=7), START_S)
    history.add(sample(counted=150, realtime=6, published=50, pending_videos=9), START_S + 20)
    now_s = START_S + 20
    assert history.shown("hour", now_s)["times_s"] == [START_S, START_S + 20]
    assert column(history, "counted_per_s", now_s) == [None, 2.5]
    assert column(history, "publishes_per_minute_realtime", now_s) == [None, 6]
    assert column(history, "videos_per_publish", now_s) == [None, 5]
    assert column(history, "pending_videos", now_s) == [7, 9]


def test_every_series_is_shown_as_long_as_the_times(history):
    for number in range(5):
        history.add(sample(counted=number), START_S + 10 * number)
    shown = history.shown("hour", START_S + 40)
    assert (shown["span"], shown["step_s"]) == ("hour", 10)
    assert list(shown["series"]) == series_names()
    assert {len(one) for one in shown["series"].values()} == {len(shown["times_s"])} == {5}


def test_a_mean_is_shown_only_where_something_was_measured(history):
    history.add(sample(publish_duration_sum=1.0, publish_duration_count=10), START_S)
    history.add(sample(publish_duration_sum=1.5, publish_duration_count=12), START_S + 10)
    history.add(sample(publish_duration_sum=1.5, publish_duration_count=12), START_S + 20)
    assert column(history, "publish_duration_s", START_S + 20) == [None, 0.25, None]


def test_a_gap_breaks_the_line_and_no_rate_is_made_across_it(history):
    history.add(sample(counted=100, pending_videos=1), START_S)
    history.add(sample(counted=9100, pending_videos=2), START_S + 300)
    history.add(sample(counted=9110, pending_videos=3), START_S + 310)
    now_s = START_S + 310
    times_s = [START_S, START_S + 10, START_S + 300, START_S + 310]
    assert history.shown("hour", now_s)["times_s"] == times_s
    assert column(history, "counted_per_s", now_s) == [None, None, None, 1]
    assert column(history, "pending_videos", now_s) == [1, None, 2, 3]


def test_a_count_that_was_begun_anew_and_one_that_was_not_known_make_no_rate(history):
    history.add(sample(restarts=7, counted=5), START_S)
    history.add(sample(restarts=1, counted=math.nan), START_S + 10)
    history.add(sample(restarts=3, counted=9), START_S + 20)
    assert column(history, "restarts", START_S + 20) == [None, None, 2]
    assert column(history, "counted_per_s", START_S + 20) == [None, None, None]


def test_the_hour_forgets_what_is_older_than_an_hour_and_the_day_keeps_it(history):
    for number in range(0, 7200, 10):
        history.add(sample(counted=number), START_S + number)
    now_s = START_S + 7190
    assert len(history.shown("hour", now_s)["times_s"]) == SPANS["hour"].places
    assert history.shown("hour", now_s)["times_s"][0] == START_S + 3600
    assert set(column(history, "counted_per_s", now_s)[1:]) == {1}
    day = history.shown("day", now_s)
    assert len(day["times_s"]) == 30
    assert set(day["series"]["counted_per_s"][1:]) == {1}


def test_the_day_shows_the_highest_level_of_each_step(history):
    for number, pending in enumerate((0, 900, 3, 2)):
        history.add(sample(pending_videos=pending), START_S + 60 * number)
    history.add(sample(pending_videos=1), START_S + 240)
    assert column(history, "pending_videos", START_S + 240, "day") == [900, 1]


def test_a_clock_that_is_set_back_hides_what_is_later_and_no_more(history):
    history.add(sample(pending_videos=5), START_S + 1000)
    history.add(sample(pending_videos=6), START_S)
    assert column(history, "pending_videos", START_S) == [6]


def test_the_history_goes_on_after_a_kill(history, tmp_path):
    history.add(sample(counted=100), START_S)
    history.add(sample(counted=120), START_S + 10)
    again = reopened(history, tmp_path)
    again.add(sample(counted=130), START_S + 20)
    assert column(again, "counted_per_s", START_S + 20) == [None, 2, 1]
    again.close()


def test_the_file_has_its_size_from_the_start_and_is_its_owners_alone(history, tmp_path):
    path = tmp_path / NAME
    size = path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert size < 300_000
    for number in range(0, 90_000, 100):
        history.add(sample(), START_S + number)
    assert path.stat().st_size == size
    assert [one.name for one in tmp_path.iterdir()] == [NAME]


def test_a_torn_record_is_left_out_and_the_others_are_kept(history, tmp_path):
    for number in range(3):
        history.add(sample(pending_videos=number + 1), START_S + 10 * number)
    path = tmp_path / NAME
    content = bytearray(path.read_bytes())
    size = 16 + 8 * (len(COUNTS) + len(LEVELS))
    place = 64 + size * (int(START_S + 10) // 10 % 360)
    content[place + size - 9] ^= 1
    path.write_bytes(content)
    again = reopened(history, tmp_path)
    assert [one for one in column(again, "pending_videos", START_S + 20) if one] == [1, 3]
    again.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(b"something else" + path.read_bytes()[14:]),
    ],
    ids=["empty", "too short", "too long", "other header"],
)
def test_a_file_that_is_damaged_is_replaced_and_the_log_says_so(damage, history, tmp_path, caplog):
    history.add(sample(pending_videos=1), START_S)
    damage(tmp_path / NAME)
    again = reopened(history, tmp_path)
    assert f"{tmp_path / NAME}: damaged" in caplog.text
    again.add(sample(pending_videos=2), START_S)
    again.close()
    third = reopened(history, tmp_path)
    assert column(third, "pending_videos", START_S) == [2]
    third.close()


@pytest.mark.parametrize("what", ["folder", "pipe", "link"])
def test_what_is_no_file_costs_the_charts_of_earlier_times_and_stops_nothing(what, tmp_path, caplog):
    path = tmp_path / NAME
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to(tmp_path / "elsewhere"),
    }[what]()
    history = History(tmp_path)
    history.open()
    assert f"{path}: " in caplog.text
    history.add(sample(pending_videos=1), START_S)
    assert column(history, "pending_videos", START_S) == [1]
    assert not (tmp_path / "elsewhere").exists()
    history.close()


def test_a_file_that_cannot_be_written_is_said_once_and_the_charts_go_on(history, tmp_path, caplog):
    read_only = os.open(tmp_path / NAME, os.O_RDONLY)
    os.dup2(read_only, history._file._descriptor)
    os.close(read_only)
    for number in range(3):
        history.add(sample(pending_videos=number), START_S + 10 * number)
    assert caplog.text.count("cannot be written") == 1
    assert column(history, "pending_videos", START_S + 20) == [0, 1, 2]


STATUS = {
    "plays": {"received": 9, "counted": 7, "redelivered": 1, "dead_lettered": 1, "oldest_age_ms": 1500},
    "publishes": dict.fromkeys(
        ("realtime", "deadline", "overdue", "drain", "republish", "videos", "failed", "rejected", "late"), 2
    )
    | {"late_by_client": 1},
    "pending_videos": 3,
    "refused_videos_total": 0,
    "in_flight_messages": 4,
    "nsq": {"depth": None},
    "supervisor": {"memory_bytes": 10, "cpu_s": 1.0},
    "children": [{"memory_bytes": 20, "cpu_s": 0.5, "restarts": 2}],
}


def test_a_sample_has_what_the_status_tells_and_leaves_out_what_nobody_has_told():
    all_known = sample_of(STATUS, {"consumer", "counters", "dispatcher"})
    assert (all_known["counted"], all_known["published"], all_known["oldest_age_s"]) == (7, 2, 1.5)
    assert (all_known["memory_bytes"], all_known["cpu_s"], all_known["restarts"]) == (30, 1.5, 2)
    assert "queue_depth" not in all_known
    assert set(sample_of(STATUS, set())) == {"memory_bytes", "cpu_s", "restarts"}
    assert "publish_duration_sum" not in all_known
    told = STATUS | {"histograms": {"publish_duration_s": {"sum": 2.5, "count": 3}}}
    assert sample_of(told, set())["publish_duration_sum"] == 2.5
