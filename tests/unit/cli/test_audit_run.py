"""`supervisor.py audit`: a replayed run is judged right, a broken one is found out, a wrong line is named."""

import json
import subprocess
import sys

import pytest

from actors.cli.commands import main
from actors.cli.recordings import read_plays
from actors.core.client.bound import Mode, demands, publishes_min
from actors.system.installation import ROOT
from bench.publishes import recorded, replay
from bench.traces import MS, lines, make_trace
from tests.support.patience import PATIENCE_S

A = "5fec8982-705f-4a15-8228-3d03c74803e5"
B = "11111111-705f-4a15-8228-3d03c74803e5"
S = 1_000_000_000
BEGIN = 1_795_500_000 * S


def publish(key, *videos, trigger="realtime", received=None):
    """A line, of (video, plays, arrival in seconds)."""
    fields = {
        "batch": key,
        "trigger": trigger,
        "videos": [
            {"video_id": video, "plays": plays, "arrived_at_ns": BEGIN + int(at * S)}
            for video, plays, at in videos
        ],
    }
    return fields | ({} if received is None else {"received_at_ns": BEGIN + int(received * S)})


def play(video, at):
    return {"video_id": video, "arrived_at_ns": BEGIN + int(at * S)}


def written(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def audit(tmp_path, capsys):
    """Runs the command on rows of publishes, and of plays. Its exit code, its JSON, and its stderr."""

    def run(publishes, plays=None, *words):
        arguments = ["audit", written(tmp_path / "publishes", publishes), "--json", *words]
        if plays is not None:
            arguments += ["--plays", written(tmp_path / "plays", plays)]
        code = main(arguments)
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else None, err

    return run


@pytest.mark.parametrize("trace", ["10 min", "bursts", "old backlog", "all hot"])
def test_a_replay_is_audited_as_it_was(audit, trace):
    plays = make_trace(trace, 1_000)
    mode = Mode(deadline=60_000 * MS, realtime_linger=100 * MS, overdue_linger=1000 * MS)
    told = replay(plays, mode)
    code, found, _ = audit(list(recorded(told)), list(lines(plays)), "--linger-ms", "100")
    assert code == 0 and found["held"]
    assert found["publishes"] == len(told)
    assert found["plays"] == found["one_a_play"] == 1_000
    assert found["bound"] == publishes_min(demands(plays, mode), 20)
    assert found["places_empty"] == 20 * len(told) - sum(len(one.batch.entries) for one in told)
    code, alone, _ = audit(list(recorded(told)), None, "--linger-ms", "100")
    assert code == 0
    assert 0.9 * found["bound"] <= alone["bound"] <= len(told)


def test_the_plays_of_a_trace_are_read_back_as_they_were(tmp_path):
    for name in ("1 h", "backlog", "all hot"):
        trace = make_trace(name, 500)
        assert read_plays(written(tmp_path / "plays", lines(trace))) == trace


def test_the_bound_is_for_whoever_is_as_quick_as_the_run_was(audit):
    rows = [
        publish("1", (A, 1, 0), received=0.5),
        publish("2", (B, 1, 0.4), received=0.6),
    ]
    code, found, _ = audit(rows)
    assert (code, found["publishes"], found["bound"], found["realtime_slowest_ms"]) == (0, 2, 1, 500)


def test_a_line_of_stdout_says_no_time_and_that_is_said(audit, capsys, tmp_path):
    rows = [publish("1", (A, 1, 0), (B, 1, 1))]
    code, found, _ = audit(rows)
    assert code == 0 and not found["times_recorded"] and found["realtime_slowest_ms"] is None
    assert main(["audit", str(tmp_path / "publishes")]) == 0
    shown = capsys.readouterr().out
    assert "without times" in shown


@pytest.mark.parametrize(
    ("promise", "rows"),
    [
        ("only_changed", [publish("1", (A, 1, 0), received=0), publish("2", (A, 1, 0), received=1)]),
        ("never_falls", [publish("1", (A, 3, 0), received=0), publish("2", (A, 2, 0), received=1)]),
        ("once_a_batch", [publish("1", (A, 1, 0), (A, 2, 0), received=0)]),
        ("deadline", [publish("1", (A, 500, 0), trigger="deadline", received=61)]),
        ("one_content_a_key", [publish("1", (A, 1, 0), received=0), publish("1", (A, 2, 0), received=1)]),
        ("width", [publish("1", *((A[:-2] + f"{n:02}", 1, 0) for n in range(21)), received=0)]),
    ],
)
def test_a_broken_promise_is_found_and_ends_with_1(audit, promise, rows):
    code, found, _ = audit(rows)
    assert code == 1
    assert found["promises_broken"][promise] == 1


@pytest.mark.parametrize(("plays", "late"), [(None, 1), ([play(A, 0)] * 500, 401)], ids=["", "plays"])
def test_what_the_client_itself_held_up_is_no_broken_promise(audit, plays, late):
    for held_up_ms, broken in ((999, 1), (1000, 0)):
        rows = [publish("1", (A, 500, 0), trigger="deadline", received=61) | {"held_up_ms": held_up_ms}]
        code, found, _ = audit(rows, plays)
        assert (code, found["promises_broken"]["deadline"]) == (broken, late * broken)


def test_a_deadline_is_judged_by_the_plays_not_by_what_the_publish_says_of_them(audit):
    plays = [play(A, 0) for _ in range(100)]
    rows = [publish("1", (A, 99, 0), received=0), publish("2", (A, 100, 30), received=70)]
    assert audit(rows)[0] == 0
    code, found, _ = audit(rows, plays)
    assert code == 1 and found["promises_broken"]["deadline"] == 1
    assert audit(rows, plays, "--deadline-s", "70")[0] == 0


def test_plays_never_told_and_totals_never_played_are_found(audit):
    rows = [publish("1", (A, 3, 0), received=1)]
    code, found, _ = audit(rows, [play(A, 0), play(B, 0)])
    assert code == 1
    assert found["promises_broken"]["every_play_told"] == 1
    assert found["promises_broken"]["no_more_than_played"] == 2


def test_a_retry_is_no_publish_more(audit):
    code, found, _ = audit([publish("1", (A, 1, 0), received=1), publish("1", (A, 1, 0), received=2)])
    assert (code, found["publishes"], found["duplicates"]) == (0, 1, 1)


@pytest.mark.parametrize(
    "line",
    [
        "what is this",
        "[]",
        "null",
        '{"batch": "1"}',
        "\udcff",
        "[" * 9999,
        json.dumps(publish("2", ("no GUID", 1, 0))),
        json.dumps(publish("2", (A, 1, 0)) | {"received_at_ns": "noon"}),
    ],
)
def test_an_unknown_line_of_publishes_is_named(tmp_path, capsys, line):
    file = tmp_path / "publishes"
    good = json.dumps(publish("1", (A, 1, 0)))
    file.write_bytes(f"{good}\n\n{line}\n".encode("utf-8", "surrogateescape"))
    assert main(["audit", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{file}, line 3: " in err and "expected a publish" in err and "Traceback" not in err


@pytest.mark.parametrize(
    "line",
    [
        "x",
        "{}",
        '{"video_id": "x", "arrived_at_ns": 1}',
        json.dumps({"video_id": A, "arrived_at_ns": -1}),
        json.dumps(play(A, 0) | {"arived": 1}),
    ],
)
def test_an_unknown_line_of_plays_is_named(audit, tmp_path, line):
    code, _, err = audit([publish("1", (A, 1, 0))], [play(A, 0), line])
    assert code == 1
    assert f"{tmp_path / 'plays'}, line 2: " in err and "expected a play" in err


def test_no_file_and_no_publishes_are_said(tmp_path, capsys):
    assert main(["audit", str(tmp_path / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "empty").write_text("\n")
    assert main(["audit", str(tmp_path / "empty")]) == 1
    assert "no publishes" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--deadline-s", "0"], ["--deadline-s", "x"], ["--linger-ms", "-1"]])
def test_a_number_that_cannot_be_is_refused(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["audit", "-", *words])
    assert "expected a number" in capsys.readouterr().err


def test_stdin_is_recorded_with_the_time_of_each_line_and_reads_back(tmp_path):
    """As a pipe from the service: `python supervisor.py | python supervisor.py audit - --record FILE`."""
    rows = [publish("1", (A, 1, 0)), publish("2", (B, 1, 0))]
    record = tmp_path / "record"
    command = [sys.executable, "supervisor.py", "audit", "--json", "--deadline-s", "1e9"]
    first = subprocess.run(
        [*command, "-", "--record", str(record)],
        input="".join(json.dumps(row) + "\n" for row in rows),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert first.returncode == 0, first.stderr
    kept = [json.loads(line) for line in record.read_text().splitlines()]
    assert [{name: one[name] for name in rows[0]} for one in kept] == rows
    second = subprocess.run(
        [*command, str(record)], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert json.loads(second.stdout) == json.loads(first.stdout)
    again = subprocess.run(
        [*command, "-", "--record", str(record)],
        input="",
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert again.returncode == 1 and "new file" in again.stderr


def test_people_are_shown_the_same(tmp_path, capsys):
    rows = [publish(str(n), (A, n, n), received=n + 0.25) for n in range(1, 4)]
    assert main(["audit", written(tmp_path / "publishes", rows)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for text in (
        "publishes 3 (3 realtime)",
        "fewest possible 3 for someone who knows all plays in advance",
        "if each realtime play is published within 250.0 ms",
        "one per play 3",
        "57 of 60 empty (95.0%)",
        "every promise was kept",
    ):
        assert text in shown
