"""What people read: nothing that they must copy is cut, at 80 columns or in a pipe; and watching goes on
whatever the service does.
"""

import pytest

from actors import config
from actors.cli import settings_table, status_page, watch
from actors.cli.page import Page
from actors.cli.plain_page import PlainPage
from actors.system.exits import Failure
from tests.support.hostile_text import HOSTILE, assert_plain

PATH = "/a/folder/" + "with-a-name-that-is-long/" * 4 + "state"


def child(child_id, state="running", **facts):
    return {
        "id": child_id,
        "state": state,
        "pid": 4711,
        "incarnation": 1,
        "restarts": 0,
        "uptime_s": 61.0,
        "last_exit": None,
        "memory_bytes": 31_000_000,
        "cpu_s": 0.1,
        "mailbox_bytes": 0,
        "store_bytes": 0,
        **facts,
    }


def nsqd(
    address="127.0.0.1:4150", connected=True, rdy=10, in_flight=3, depth: int | None = 0, last_age_ms=None
):
    facts = {"connected": connected, "rdy": rdy, "in_flight": in_flight, "depth": depth}
    facts["last_age_ms"] = last_age_ms
    return {"address": address, "http_address": "", **facts}


def status(*children, **facts):
    children = children or (child("nsqd"), child("counter-0"), child("consumer"))
    names = [one["id"] for one in children if not one["id"].startswith("counter-")]
    limits = {"strategy": "one_for_one", "max_restarts": 5, "max_seconds": 10.0, "state": "running"}
    return {
        "supervisor": {
            "pid": 4710,
            "uptime_s": 3661.0,
            "strategy": "one_for_one",
            "memory_bytes": 38_000_000,
            "cpu_s": 1.5,
        },
        "supervisors": [
            {"id": "root", "children": [*names, "counters"], **limits},
            {
                "id": "counters",
                "children": [one["id"] for one in children if one["id"].startswith("counter-")],
                **limits,
            },
        ],
        "children": list(children),
        "plays": {"received": 1234, "counted": 1234, "redelivered": 5, "dead_lettered": 6}
        | {"oldest_age_ms": 35_040},
        "publishes": {
            "total": 1000,
            "realtime": 900,
            "deadline": 80,
            "overdue": 15,
            "drain": 5,
            "republish": 0,
            "videos": 12_345,
            "late": 2,
            "late_by_client": 1,
            "failed": 3,
            "rejected": 1,
        },
        "videos": 100,
        "refused_videos": [],
        "refused_videos_total": 0,
        "pending_videos": 0,
        "in_flight_messages": 0,
        "caught_up": True,
        "disks": [],
        "log_lines_dropped": 0,
        "caught_up_is": "queue",
        "why_not_caught_up": [],
        "paused": {"consuming": False, "publishing": False},
        "set_while_running": {},
        "nsq": {"connections": 1, "depth": 0, "others_on_channel": 0, "nsqds": [nsqd()]},
        "client": {"circuit": "closed", "failures_in_a_row": 0},
        **facts,
    }


@pytest.fixture
def at_80_columns(monkeypatch):
    class Narrow(PlainPage):
        def __init__(self):
            super().__init__()
            self.width = 80

    monkeypatch.setattr(status_page, "PlainPage", Narrow)


def shown(capsys, show, *arguments):
    show(*arguments)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_the_status_names_every_child_its_life_and_what_was_done(capsys):
    killed = child("counter-0", incarnation=2, restarts=1, last_exit={"how": "killed(SIGKILL)"})
    lines = shown(capsys, status_page.show_status, status(child("nsqd"), killed, child("consumer")))
    text = "\n".join(lines)
    assert "supervisor" in text and "1 h 01 min" in text
    assert any("counter-0  running  4711    #2  1 min 01 s" in line for line in lines)
    assert "killed(SIGKILL)" in text
    assert "1,234 counted of 100 videos; 5 redeliveries dropped, 6 dead letters" in text
    assert "the oldest of the last minute was 35.0 s old" in text
    assert "1,000 of 12,345 totals: 900 realtime, 80 deadline, 15 overdue, 5 drain" in text
    assert "2 totals late, 1 by the client; 3 attempts failed, 1 rejected" in text
    assert lines[-1] == "caught up: nothing in flight, every play published"


def test_a_client_that_fails_is_told(capsys):
    facts = {"client": {"circuit": "half_open", "failures_in_a_row": 1234}}
    lines = shown(capsys, status_page.show_status, status(**facts))
    assert "client     failed 1,234 times in a row; circuit half open" in lines


def test_the_bytes_of_each_store_are_told(capsys):
    children = (
        child("nsqd", store_bytes=48_123_456),
        child("counter-0", store_bytes=60_000),
        child("consumer"),
    )
    assert "stores     nsqd 48.1 MB, counter-0 0.1 MB" in shown(
        capsys, status_page.show_status, status(*children)
    )
    assert not any(line.startswith("stores") for line in shown(capsys, status_page.show_status, status()))


def test_a_nearly_full_disk_is_told_and_of_others_there_is_no_word(capsys):
    disk = {"place": "state", "free_bytes": 1_234_567_890, "full": 0.93, "nearly_full": True}
    roomy = {"place": "stderr", "free_bytes": 1_234_567_890, "full": 0.5, "nearly_full": False}
    lines = shown(capsys, status_page.show_status, status(disks=[disk, roomy]))
    assert [line for line in lines if line.startswith("disk")] == [
        "disk       of state: 93% full, 1,234.6 MB free"
    ]


def test_lost_log_lines_are_told_and_without_any_there_is_no_word_of_them(capsys):
    told = "log        1,234 lines dropped, because stderr could not be written"
    assert told in shown(capsys, status_page.show_status, status(log_lines_dropped=1234))
    assert not any(line.startswith("log ") for line in shown(capsys, status_page.show_status, status()))


def test_why_the_service_has_not_caught_up_is_told_in_one_line(capsys):
    why_not = ["consumer did not answer", "20 videos to publish"]
    lines = shown(capsys, status_page.show_status, status(caught_up=False, why_not_caught_up=why_not))
    assert lines[-1] == "not caught up: consumer did not answer, 20 videos to publish"


def test_it_is_told_when_the_queue_is_not_known(capsys):
    lines = shown(capsys, status_page.show_status, status(caught_up_is="service"))
    assert lines[-1] == (
        "caught up: nothing in flight, every play published, but not every nsqd says what waits there "
        "(nsq.nsqd_http_addresses)"
    )


def test_every_nsqd_has_a_line_and_consumers_of_others_are_told(capsys):
    nsqds = [
        nsqd("a:4150", depth=1234, last_age_ms=61_500),
        nsqd("b:4150", connected=False, rdy=0, in_flight=0, depth=None),
        nsqd("c:4150", depth=None) | {"wrong_http_address": "b:4151"},
    ]
    nsq = {"connections": 1, "depth": 1234, "others_on_channel": 2, "nsqds": nsqds}
    lines = shown(capsys, status_page.show_status, status(nsq=nsq))
    first = lines.index("nsqd       a:4150 connected, RDY 10, 3 in flight, depth 1,234, last 61.5 s old")
    told = " ".join(" ".join(lines).split())
    assert "its depth is not known (b:4151 is the HTTP of another nsqd: see nsq.nsqd_http_addresses)" in told
    lines = [line for line in lines if "c:4150" not in line and "nsq.nsqd_http_addresses" not in line]
    assert lines[first + 1 : first + 3] == [
        "           b:4150 NOT connected, RDY 0, 0 in flight, its depth is not known",
        "           other consumers on our channel: 2, which take a part of the plays",
    ]


@pytest.mark.parametrize(
    ("identity", "shown_as"),
    [
        ("node id", "known by node id 5,"),
        ("node id and host name", "known by node id 5 at n1,"),
        ("address", "known by its address alone (node id 5 is another's too),"),
    ],
)
def test_what_an_nsqd_is_known_by_is_told(capsys, identity, shown_as):
    one = nsqd() | {"identity": identity, "node_id": 5, "hostname": "n1"}
    nsq = {"connections": 1, "depth": 0, "others_on_channel": 0, "nsqds": [one]}
    assert shown_as in " ".join(" ".join(shown(capsys, status_page.show_status, status(nsq=nsq))).split())


def test_the_status_fits_80_columns_and_cuts_nothing(capsys, at_80_columns):
    why = "killed(SIGKILL), hung (no answer for 10.3 s)"
    hung = child("counter-0", last_exit={"how": why}, pid=4_194_304)
    lines = shown(capsys, status_page.show_status, status(child("nsqd", uptime_s=360_000.0), hung))
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "…" not in text
    assert "4194304" in text and "100 h 00 min" in text
    assert "restarts   root: one_for_one, 5 in 10 s" in lines
    assert f"last exit  counter-0: {why}" in lines


def test_settings_are_never_cut_neither_at_80_columns_nor_in_a_pipe(capsys, tmp_path, monkeypatch):
    file = tmp_path / "config.toml"
    file.write_text(f'[supervisor]\nstate_dir = "{PATH}"\n[nsq]\nnsqd_tcp_addresses = ["a:1", "b:2"]\n')
    found = config.explain(file)
    lines = shown(capsys, settings_table.show_settings, found)
    (line,) = (line for line in lines if line.startswith("supervisor.state_dir "))
    assert line.split()[1:3] == [PATH, "config.toml"]
    assert any("[a:1, b:2]" in line for line in lines)
    assert any(line.startswith("publish.secret_env ") and ' "" ' in line for line in lines)
    assert any(line.startswith("publish.stdout ") and " true " in line for line in lines)
    assert "expected" in lines[0]

    class Narrow(Page):
        def __init__(self):
            super().__init__()
            self.width = 80

    monkeypatch.setattr(settings_table, "Page", Narrow)
    lines = shown(capsys, settings_table.show_settings, found)
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    begin = lines[0].index("value")
    at = next(place for place, line in enumerate(lines) if line.startswith("supervisor.state_dir"))
    pieces = [line[begin : lines[0].index("from")].strip() for line in lines[at : at + 6]]
    assert "".join(pieces).startswith(PATH)
    assert lines[at].endswith("config.toml *")
    assert lines[-1] == "* not the default"


def test_config_begins_with_what_differs_from_the_defaults(capsys):
    found = config.explain(None, ["dispatch.deadline_s=5", "publish.timeout_s=7"])
    lines = shown(capsys, settings_table.show_settings, found)
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["dispatch.deadline_s", "5", "s"],
        ["publish.timeout_s", "7", "s"],
    ]
    assert lines[3] == "" and lines[4].startswith("nsq.topic ")
    assert sum(line.startswith("dispatch.deadline_s ") for line in lines) == 1
    assert len(lines) == 1 + len(found) + 2, "the head, each setting, an empty line and what * means"


@pytest.mark.parametrize(
    ("columns", "last"), [(76, "* not the default"), (60, "the first is not the default")]
)
def test_a_narrow_config_drops_what_is_expected_then_where_from_and_says_what_is_not_the_default(
    columns, last, capsys, monkeypatch
):
    class Narrow(Page):
        def __init__(self):
            super().__init__()
            self.width = columns

    monkeypatch.setattr(settings_table, "Page", Narrow)
    lines = shown(capsys, settings_table.show_settings, config.explain(None, ["dispatch.deadline_s=5"]))
    assert lines[0].split() == ["setting", "value", *(["from"] if columns > 60 else [])]
    assert lines[1].startswith("dispatch.deadline_s ") and lines[-1] == last
    assert max(map(len, lines)) <= columns


def test_watching_goes_on_while_the_service_is_away_and_ends_at_ctrl_c(capsys, monkeypatch):
    monkeypatch.setattr(watch, "PLAIN_INTERVAL_S", 0.0)
    answers = iter([status(), Failure("the service does not answer"), status(), KeyboardInterrupt()])

    def ask():
        answer = next(answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    assert watch.watch(ask) == 0
    assert next(answers, None) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90_061, "25 h 01 min"),
    ],
)
def test_durations_are_as_long_as_they_need_to_be(seconds, text, capsys):
    lines = shown(
        capsys, status_page.show_status, status(child("nsqd", uptime_s=seconds), child("counter-0"))
    )
    assert any("nsqd" in line and f" {text} " in line for line in lines)


def everything(text):
    """A status whose texts from outside are this text."""
    video = {"video_id": text, "plays": 1, "attempts": 1, "answer": text, "next_attempt_s": 1.0}
    nsq = {"connections": 1, "depth": 0, "others_on_channel": 0}
    nsq["nsqds"] = [nsqd(text) | {"wrong_http_address": text}]
    facts = {"refused_videos": [video], "refused_videos_total": 1, "nsq": nsq}
    return status(
        child("consumer", last_exit={"how": text}), caught_up=False, why_not_caught_up=[text], **facts
    )


def test_hostile_text_in_a_status_makes_no_line_and_styles_nothing(capsys):
    usual = shown(capsys, status_page.show_status, everything("[bold]x"))
    lines = shown(capsys, status_page.show_status, everything(HOSTILE))
    assert_plain("\n".join(lines))
    assert sum("[bold]x" in line for line in usual) >= 4


def test_what_is_paused_and_what_was_set_has_a_line_each(capsys):
    facts = {"paused": {"consuming": True, "publishing": True}}
    facts["set_while_running"] = {"publish.rate_max_per_s": 2.5, "publish.in_flight_max": 4}
    lines = [line.rstrip() for line in shown(capsys, status_page.show_status, status(**facts))]
    assert "paused     consuming and publishing, until `resume` or the next start" in lines
    assert "set        publish.rate_max_per_s = 2.5, publish.in_flight_max = 4, until the next start" in lines
    calm = shown(capsys, status_page.show_status, status())
    assert not [line for line in calm if line.startswith(("paused", "set"))]
