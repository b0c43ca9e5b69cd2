"""The metrics of a running service: its counters while children are killed, and Prometheus' own lint."""

import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.cli.launch import wait_for
from actors.system.direct_http import open_directly
from tests.support.needed import lacking
from tests.support.patience import PATIENCE_S
from tests.support.services import PATIENT, open_service, wait_caught_up

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(40)]
PROMLINT = Path(__file__).parents[1] / "promlint"


def metrics(service):
    """The text of /metrics."""
    with open_directly(f"http://{service.address('admin_address')}/metrics", PATIENCE_S) as answer:
        return answer.read().decode()


def counters(service):
    """Each counter of /metrics, by name and labels."""
    families = list(text_string_to_metric_families(metrics(service)))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        if family.type == "counter"
        for sample in family.samples
    }


def test_no_counter_falls_while_a_child_that_was_killed_is_away(tmp_path):
    pauses = ["supervisor.back_off_ms=500", "counters_supervisor.back_off_ms=500"]
    with open_service("embedded", tmp_path, *PATIENT, *pauses, "dispatch.deadline_s=0.3") as service:
        service.start()
        bodies = [b'{"video_id": "%b"}' % VIDEOS[number % 40].encode() for number in range(400)]
        service.queue.put("plays", *bodies)
        wait_caught_up(service, 400)
        seen = [counters(service)]
        assert seen[0]["playtally_plays_total", (("outcome", "counted"),)] == 400
        assert any(value for (name, _), value in seen[0].items() if name == "playtally_publishes_total")

        def is_back(child):
            now, before = counters(service), seen[-1]
            seen.append(now)
            assert {key: (value, now[key]) for key, value in before.items() if now[key] < value} == {}
            found = service.child(child)
            return found["state"] == "running" and found["incarnation"] == 2

        for child in ("counter-0", "dispatcher", "consumer", "counter-1", "client", "nsqd"):
            assert service.command("kill", child).returncode == 0
            wait_for(partial(is_back, child), f"{child} to be back", PATIENCE_S)
        service.queue.put("plays", *bodies)
        wait_caught_up(service, 800)
        is_back("consumer")
        assert seen[-1]["playtally_plays_total", (("outcome", "counted"),)] == 800


@pytest.fixture(scope="module")
def promlint(tmp_path_factory):
    """Lints metrics as `promtool check metrics` does. Returns what it finds, a line each."""
    go = shutil.which("go")
    if go is None:
        lacking("no program on PATH that builds tests/promlint: go")
    program = tmp_path_factory.mktemp("promlint") / "promlint"
    subprocess.run([go, "build", "-o", program], cwd=PROMLINT, check=True, timeout=600)

    def lint(text):
        run = subprocess.run([program], input=text, capture_output=True, text=True, check=False)
        assert run.returncode == (3 if run.stdout else 0), run.stderr
        return run.stdout.splitlines()

    return lint


def test_the_lint_finds_a_counter_that_is_not_named_like_one(promlint):
    text = "# HELP plays Plays.\n# TYPE plays counter\nplays 1\n"
    assert promlint(text) == ['plays: counter metrics should have "_total" suffix']


def test_prometheus_finds_nothing_wrong_with_the_metrics(promlint, tmp_path):
    with open_service("embedded", tmp_path, *PATIENT) as service:
        service.start()
        service.queue.put("plays", b'{"video_id": "%b"}' % VIDEOS[0].encode(), b"no play")
        wait_caught_up(service, 1)
        assert promlint(metrics(service)) == []
