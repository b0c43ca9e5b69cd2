"""What each command prints, without a terminal and on one, is as in tests/snapshots.

tests/support/snapshots.py says how to renew them. That nothing is squeezed on a narrow terminal is in
unit/cli/test_tables.py.
"""

import json
import os
import tempfile
from pathlib import Path

import pytest

from actors.cli import commands, drill, drill_here, report
from actors.cli.agreement import Told, Verdict
from actors.cli.demo_progress import Figures, PlainLines
from actors.cli.kills import Kill, line
from actors.cli.launch import Service
from actors.cli.parser import command_parser
from actors.cli.screen import Page
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.services import PATIENT, UNHURRIED, open_service, wait_caught_up
from tests.support.snapshots import COLUMNS, FOLDER, Printed, check, masked, printed
from tests.support.terminals import on_a_terminal, read_terminal
from tests.unit.cli.test_report import NO_LATENCY, run_of

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in (1, 2)]
PUBLISH = {
    "batch": "a",
    "trigger": "realtime",
    "videos": [{"video_id": VIDEOS[0], "plays": 1, "arrived_at_ns": 1}],
}
KILLS = [Kill("consumer", 4711, 31.0, 62.0), Kill("nsqd", 4712, 41.0, 41.0), Kill("client", 4713, 21.0, None)]


@pytest.fixture(scope="module")
def folder():
    """A folder whose path is short, and equally long each time, so that lines are wrapped at one place."""
    with tempfile.TemporaryDirectory(prefix="pt-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def service(folder):
    at_once = ("dispatch.realtime_below=1000", "counters.shards=1")
    with open_service("embedded", folder, *UNHURRIED, *PATIENT, *at_once) as service:
        service.start()
        bodies = [b'{"video_id": "%b"}' % video.encode() for video in (VIDEOS[0], *VIDEOS)]
        service.queue.put("plays", *bodies)
        wait_caught_up(service, 3)
        yield service


def compare(name, words, service, monkeypatch, kept=lambda line: True):
    """Compare what a command prints with its snapshot. `kept`: the lines to compare."""

    def call():
        wait_until(lambda: calm(service), "all children to run")
        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", ["supervisor.py"])
            patch.setattr(commands, "with_open_streams", lambda run: run())  # the test has its own
            try:
                commands.main([words[0], *service.arguments, *words[1:]])
            except SystemExit:
                pass

    folder = str(service.state_dir.parent)
    found = printed(call, monkeypatch, folder)
    found = found._make("\n".join(filter(kept, text.split("\n"))) for text in found)
    check(name, f"python supervisor.py {' '.join(words)}".replace(folder, "FOLDER"), found)


def calm(service):
    """Whether all children run, or none ever will."""
    try:
        return service.ended or all(one["state"] == "running" for one in service.status()["children"])
    except OSError:  # it is about to end
        return False


RUNNING = {
    "status": ["status"],
    "check": ["check"],
    "totals": ["totals"],
    "totals-verify": ["totals", "--verify"],
    "reload": ["reload"],
    "drill-here": ["drill", "--here", "--seed", "1"],
    "restart-refused": ["restart", "consumer"],
    "kill-unknown": ["kill", "counter-9"],
    "kill-ambiguous": ["kill", "c"],
    "kill-supervisor": ["kill", "counters"],
    "accept-topic-refused": ["accept-topic"],
    "reshard-refused": ["reshard"],
}


@pytest.mark.parametrize("name", RUNNING)
def test_snapshot_of_a_command_while_the_service_runs(name, service, monkeypatch):
    # How many publishes it took, and how old plays were, differs.
    not_kept = ("publishes  ", "  the oldest")
    compare(name, RUNNING[name], service, monkeypatch, lambda line: not line.startswith(not_kept))


def test_snapshot_of_config(monkeypatch):
    def kept(line):
        return line.startswith(("setting", "dispatch.", "* "))

    nowhere = Service(
        Path("/nowhere/state"), []
    )  # a path of one length, which the width of a column depends on
    compare("config", ["config", "--set", "dispatch.deadline_s=5"], nowhere, monkeypatch, kept)


def test_snapshot_of_commands_that_change_a_running_service(service, monkeypatch):
    compare("kill", ["kill", "counter-0"], service, monkeypatch)
    compare("backup", ["backup", str(service.state_dir.parent / "copy")], service, monkeypatch)
    compare("republish", ["republish", VIDEOS[0]], service, monkeypatch)
    compare("pause", ["pause", "consuming"], service, monkeypatch)
    compare("resume", ["resume", "consuming"], service, monkeypatch)
    compare("set", ["set", "publish.rate_max_per_s=1000"], service, monkeypatch)
    compare("set-refused", ["set", "nsq.topic=x"], service, monkeypatch)
    compare("set-back", ["set", "publish.rate_max_per_s=0"], service, monkeypatch)
    for name in ("terminate", "restart"):
        with monkeypatch.context() as patch:
            patch.setattr(f"{__name__}.calm", lambda _: True)
            words = [name, "client"]
            compare(f"{name}-client", words, service, patch)


def test_snapshot_of_a_second_start_and_of_a_stop(service, monkeypatch):
    """A start is a process of its own: it logs, and this process has a log already."""
    process, ours = on_a_terminal("run", *service.arguments, columns=COLUMNS)
    with os.fdopen(ours, closefd=True):
        shown = read_terminal(ours)
    process.wait(PATIENCE_S)
    folder = str(service.state_dir.parent)
    found = [service.command("run").stderr, shown]
    check(
        "run",
        "python supervisor.py run",
        Printed(*(masked(one, folder) for one in found)),
    )
    compare("stop", ["stop"], service, monkeypatch)


def test_snapshot_of_commands_without_a_service(folder, monkeypatch):
    service = Service(folder / "nothing", [])
    (folder / "publishes").write_text(json.dumps(PUBLISH) + "\n")
    for name, words in {
        "status-without": ["status"],
        "stop-without": ["stop"],
        "totals-without": ["totals"],
        "check-without": ["check"],
        "backup-without": ["backup", str(folder / "backup")],
        "restore-without": ["restore", str(folder / "backup")],
        "cluster-without": ["cluster", "stop", "nsqd-0", "--data-dir", str(folder / "cluster")],
        "audit": ["audit", str(folder / "publishes")],
        "config-wrong": ["config", "--set", "dispatch.deadline_s=soon", "--set", "nsq.topics=x"],
        "run-named": ["run", "--set", "publish.ca_file=/no/such/file", "--set", "publish.secret_env=NOT_SET"],
    }.items():
        compare(name, words, service, monkeypatch)


def test_snapshot_of_the_end_of_a_drill(monkeypatch):
    proof = {"plays": 9000, "unknown": 81, "lost": 0, "doubled": 0, "untold": 0}

    def shown():
        page = Page(stderr=True)
        for number, kill in enumerate(KILLS, 1):
            page.print(line(number, len(KILLS), kill))
        drill._show(KILLS, proof, {"plays": {"redelivered": 153}})

    check("drill", "python supervisor.py drill --kills 3", printed(shown, monkeypatch))
    found = printed(lambda: drill_here._show(KILLS, 3, Verdict(0, 0, 7), Told(3, 0, 0)), monkeypatch)
    check("drill-here-end", "python supervisor.py drill --here --yes --kills 3", found)


def test_snapshot_of_the_end_of_a_demo(monkeypatch):
    run = run_of(
        7,
        realtime={"count": 1, "p50": 2.0, "p99": 2.0, "max": 2.0},
        hot={**NO_LATENCY, "count": 1, "max": 2.0},
    )

    def shown():
        with PlainLines(Page(stderr=True)) as lines:
            lines.show(Figures(1000, 1000, 100, 54, 56, 58.2), 0.0)
        report.render(run, report.findings(run))

    monkeypatch.setattr(report, "_where_next", lambda: [("make run", "the service, until Ctrl-C")])
    check("demo", "make demo", printed(shown, monkeypatch))


def test_each_command_has_a_snapshot():
    begun = {file.name.removesuffix(".txt").split("-")[0] for file in FOLDER.glob("*.txt")}
    (choices,) = [one.choices for one in command_parser()._actions if isinstance(one.choices, dict)]
    assert {name.split("-")[0] for name in choices} <= begun
