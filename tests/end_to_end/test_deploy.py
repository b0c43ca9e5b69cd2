"""deploy/: Prometheus takes the alerts, each can fire, and all that they and the dashboard name exists."""

import json
import re
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.system.direct_http import open_directly
from actors.system.installation import ROOT
from tests.support.needed import lacking
from tests.support.patience import PATIENCE_S
from tests.support.services import PATIENT, open_service, wait_caught_up

DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
ALERT_TESTS = DEPLOY / "prometheus" / "alerts_test.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "playtally.json").read_text(encoding="utf-8"))
PRODUCTION = ROOT / "docs" / "production.md"
# What Prometheus adds to each sample, and what a histogram's buckets have.
ALWAYS_THERE = {"instance", "job", "le"}


def without_comments(text):
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def rules():
    """The text of each alert, by its name."""
    parts = re.split(
        r"^ +- alert: (\w+)\n", without_comments(ALERTS.read_text(encoding="utf-8")), flags=re.MULTILINE
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def expression_of(rule):
    return re.search(r"expr: (?:>-)?\s*(.*?)\n +(?:for|labels):", rule, re.DOTALL).group(1)


def panels():
    return [one for one in DASHBOARD["panels"] if one["type"] != "row"]


def queries():
    """Each query of the dashboard, with values for Grafana's variables."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    found += [one["expr"] for one in DASHBOARD["annotations"]["list"]]
    return [one.replace("$__rate_interval", "1m").replace("$instance", ".*") for one in found]


EXPRESSIONS = {
    **{name: expression_of(rule) for name, rule in rules().items()},
    **{one: one for one in queries()},
}


@pytest.fixture(scope="module")
def promtool():
    """Runs promtool. Returns what it wrote, and whether it found nothing wrong."""
    program = shutil.which("promtool")
    if program is None:
        lacking("no promtool on PATH, which `make promtool` builds (it needs Go)")

    def run(*words, **more):
        done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=60, **more)
        return done.stdout + done.stderr, done.returncode == 0

    return run


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    """The metrics of a service that has counted a play, and a message that is none."""
    with open_service("embedded", tmp_path_factory.mktemp("deploy"), *PATIENT) as service:
        service.start()
        service.queue.put("plays", b'{"video_id": "00000000-0000-4000-8000-000000000000"}', b"no play")
        wait_caught_up(service, 1)
        with open_directly(f"http://{service.address('admin_address')}/metrics", PATIENCE_S) as answer:
            yield answer.read().decode()


@pytest.fixture(scope="module")
def labels(metrics):
    """The labels of each sample, by its name."""
    found = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


# Prometheus takes them


def test_promtool_takes_the_rules(promtool):
    told, is_well = promtool("check", "rules", ALERTS)
    assert is_well and f"{len(rules())} rules found" in told, told


def test_the_unit_tests_of_the_rules_pass(promtool):
    told, is_well = promtool("test", "rules", ALERT_TESTS)
    assert is_well, told


@pytest.mark.parametrize("instead", ["vector(1) == 0", "vector(1)"], ids=["never fires", "always fires"])
@pytest.mark.parametrize("alert", rules())
def test_the_unit_tests_notice_an_alert_that(alert, instead, promtool, tmp_path):
    before = rules()[alert]
    after = before.replace(
        re.search(r"expr: .*?(?=\n +(?:for|labels):)", before, re.DOTALL)[0], f"expr: {instead}"
    )
    text = without_comments(ALERTS.read_text(encoding="utf-8"))
    assert before in text and after != before
    (tmp_path / ALERTS.name).write_text(text.replace(before, after))
    shutil.copy(ALERT_TESTS, tmp_path)
    assert promtool("check", "rules", tmp_path / ALERTS.name)[1]
    told, is_well = promtool("test", "rules", tmp_path / ALERT_TESTS.name)
    assert not is_well and "FAILED" in told


def test_promtool_takes_the_configurations_that_are_to_be_copied(promtool, tmp_path):
    text = PRODUCTION.read_text(encoding="utf-8")
    (tmp_path / "token").write_text("a token of 16 bytes or more")
    (tmp_path / DEPLOY.name).symlink_to(DEPLOY)
    found = re.findall(r"^    scrape_configs:\n(?:    .*\n)+", text, re.MULTILINE)
    answers = []
    for block in found:
        lines = "\n".join(line[4:] for line in block.splitlines())
        lines = re.sub(r"credentials_file: [^}]+", f"credentials_file: {tmp_path / 'token'}", lines)
        (tmp_path / "prometheus.yml").write_text(lines)
        told, is_well = promtool("check", "config", tmp_path / "prometheus.yml")
        assert is_well, told
        answers.append(told)
    assert any(f"{len(rules())} rules found" in one for one in answers), answers


def test_promtool_takes_every_query_of_the_dashboard(promtool, tmp_path):
    recorded = [{"record": f"query:{number}", "expr": one} for number, one in enumerate(queries())]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": recorded}]}))
    told, is_well = promtool("check", "rules", file)
    assert is_well and f"{len(recorded)} rules found" in told, told


def test_promtool_finds_nothing_wrong_with_the_metrics(promtool, metrics):
    told, is_well = promtool("check", "metrics", input=metrics)
    assert is_well and told == "", told


# What they name exists


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_each_metric_and_label_is_one_of_a_running_service(expression, labels):
    names = set(re.findall(r"\bplaytally_\w+", expression))
    assert names <= labels.keys(), f"not in /metrics: {sorted(names - labels.keys())}"
    lists = re.findall(r"\b(?:by|without) \(([^)]*)\)", expression)
    used = {one.strip() for words in lists for one in words.split(",")}
    used |= set(re.findall(r"[{,]\s*(\w+)(?:=~|=|!=|!~)\"", expression))
    if names:
        there = set.union(*(labels[name] for name in names))
        assert used <= there | ALWAYS_THERE, f"no such label: {sorted(used - there - ALWAYS_THERE)}"
    else:
        assert re.search(r"\b(?:up|ALERTS)\{", expression), "it names no metric of ours"


def test_every_metric_is_in_the_dashboard_or_an_alert_or_explained_by_another(labels):
    everywhere = " ".join(EXPRESSIONS.values())
    base = {re.sub(r"_(?:bucket|sum|count|total|created)$", "", name) for name in labels}
    unseen = {name for name in base if name not in everywhere}
    assert unseen <= {
        "playtally_child_up",  # playtally_healthy says it
        "playtally_uptime_seconds",
        "playtally_caught_up_is",
        "playtally_published_videos",  # playtally_publish_videos_sum
        "playtally_published_rejected",  # among the answers by status
        "playtally_reused_ids",
        "playtally_videos",
        "playtally_store_seen_ids",
        "playtally_nsq_reads",
        "playtally_nsq_reads_by_ticker",
        "playtally_nsqd_depth",
    }


# Where an alert leads


def test_each_alert_leads_to_its_paragraph_and_each_paragraph_is_of_an_alert():
    headings = re.findall(r"^### (Playtally\w+)$", PRODUCTION.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == list(rules()), "the alerts and the paragraphs, in their order"
    for alert, rule in rules().items():
        [url] = re.findall(r"runbook_url: (\S+)", rule)
        assert url == f"docs/production.md#{alert.lower()}"
        assert re.search(r"severity: (?:critical|warning)\b", rule)
        for key in ("summary", "description"):
            assert len(re.findall(rf"{key}: \S", rule)) == 1, (alert, key)


def test_each_paragraph_says_something_and_its_links_lead_somewhere():
    text = PRODUCTION.read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w -]", "", one).lower().replace(" ", "-")
        for one in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    paragraphs = re.split(r"^### (Playtally\w+)\n", text, flags=re.MULTILINE)
    for alert, paragraph in zip(paragraphs[1::2], paragraphs[2::2], strict=True):
        words = paragraph.partition("\n## ")[0].split()
        assert len(words) >= 40, f"{alert}: what it means, where to look, what to do"
        assert set(re.findall(r"\]\(#([\w-]+)\)", paragraph)) <= anchors


# The dashboard


def test_each_panel_has_a_title_a_description_a_unit_and_a_place_of_its_own():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    for panel in panels():
        assert panel["title"] and panel["description"] and panel["targets"], panel
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        unit = panel["options"]["yAxis"] if panel["type"] == "heatmap" else panel["fieldConfig"]["defaults"]
        assert unit["unit"]
    numbers = [one["id"] for one in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))
