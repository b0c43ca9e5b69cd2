"""What is paused and set while the service runs, on real processes: it outlasts kills."""

import json
import urllib.error
import urllib.request

import pytest

from tests.support.patience import wait_until
from tests.support.queues import QUEUES
from tests.support.recording_client import RecordingClient, Reply
from tests.support.services import (
    PATIENT,
    UNHURRIED,
    action_headers,
    facts_of,
    ledger_totals,
    open_service,
    promises_broken,
    wait_caught_up,
    wait_counted,
    wait_status,
)

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 46)]


@pytest.fixture
def client():
    with RecordingClient() as one:
        yield one


def play(service, videos=VIDEOS, plays=1):
    service.queue.put("plays", *[b'{"video_id": "%b"}' % video.encode() for video in videos] * plays)


def told(service, *words):
    """Run a command that has to succeed. Returns what it says."""
    done = service.command(*words)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr.strip()


def refused(service, *words):
    done = service.command(*words)
    assert done.returncode == 1 and done.stdout == "", done
    return done.stderr.strip()


def kill(service, child_id):
    """Kill a child, and wait until the next incarnation runs."""
    before = service.child(child_id)["incarnation"]
    told(service, "kill", child_id)
    return wait_status(
        service,
        lambda status: any(
            one["id"] == child_id and one["state"] == "running" and one["incarnation"] > before
            for one in status["children"]
        ),
        f"the next {child_id}",
    )


def healthz(service):
    with urllib.request.urlopen(f"http://{facts_of(service)['admin_address']}/healthz", timeout=60) as answer:
        return json.load(answer)


def actions_of(service):
    with urllib.request.urlopen(f"http://{facts_of(service)['admin_address']}/actions", timeout=60) as answer:
        return json.load(answer)["actions"]


def post(service, path, body=None, **headers):
    """POST to the admin address. Returns the status and what is said."""
    url = f"http://{facts_of(service)['admin_address']}{path}"
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)["done"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]


# Consuming


@pytest.mark.parametrize("kind", QUEUES)
def test_a_paused_consumer_takes_nothing_loses_nothing_and_stays_paused_through_a_kill(kind, tmp_path):
    with open_service(kind, tmp_path, *UNHURRIED, *PATIENT) as service:
        service.start()
        play(service)
        wait_caught_up(service, 45)
        assert "resume consuming" in told(service, "pause", "consuming")
        assert "already" in told(service, "pause", "consuming")
        play(service, plays=10)
        for _ in range(2):
            status = wait_status(service, _waits_450, "a connected nsqd with a depth of 450")
            assert status["paused"] == {"consuming": True, "publishing": False}
            assert "consuming is paused" in status["why_not_caught_up"] and not status["caught_up"]
            (nsqd,) = status["nsq"]["nsqds"]
            assert nsqd["connected"] and (nsqd["rdy"], nsqd["in_flight"]) == (0, 0)
            assert status["plays"]["received"] == 45
            assert healthz(service) == {"healthy": True, "reasons": [], "down": []}
            kill(service, "consumer")
        assert "paused     consuming, until" in service.command("status").stdout
        told(service, "resume", "consuming")
        status = wait_caught_up(service, 495)
        assert status["plays"]["counted"] == 495 and status["plays"]["redelivered"] == 0
        assert status["paused"] == {"consuming": False, "publishing": False}
        assert ledger_totals(service) == service.totals() == dict.fromkeys(VIDEOS, 11)
        assert promises_broken(service) == {}
        assert service.log().count("started, pid") == len(status["children"]) + 2
        assert "was not paused" in told(service, "resume", "consuming")


def _waits_450(status):
    return status["nsq"]["depth"] == 450 and status["nsq"]["connections"] == 1


def test_what_is_in_flight_when_consuming_is_paused_is_counted_and_finished(tmp_path):
    with open_service("embedded", tmp_path, *UNHURRIED, "dispatch.deadline_s=2") as service:
        service.start()
        play(service)
        wait_counted(service, 1)
        play(service, plays=200)
        told(service, "pause", "consuming")
        status = wait_status(service, lambda status: not status["in_flight_messages"], "nothing in flight")
        counted = status["plays"]["counted"]
        told(service, "resume", "consuming")
        status = wait_caught_up(service, 45 * 201)
        assert status["plays"]["redelivered"] == 0 and counted <= 45 * 201
        assert ledger_totals(service) == service.totals() == dict.fromkeys(VIDEOS, 201)


# Publishing


def test_nothing_is_published_in_a_pause_and_then_all_in_full_batches(client, tmp_path):
    with open_service("embedded", tmp_path, f"publish.url={client.url}", *UNHURRIED, *PATIENT) as service:
        service.start()
        told(service, "pause", "publishing")
        play(service)
        wait_counted(service, 45)
        status = kill(service, "dispatcher")
        assert status["paused"] == {"consuming": False, "publishing": True}
        kill(service, "counter-0")
        play(service)
        status = wait_status(service, lambda status: status["pending_videos"] == 45, "all to be pending")
        assert "publishing is paused" in status["why_not_caught_up"]
        assert healthz(service)["healthy"] and client.received == []
        told(service, "resume", "publishing")
        wait_caught_up(service, 90)
        assert sorted(len(one.publish["videos"]) for one in client.received) == [5, 20, 20]
        assert client.totals == ledger_totals(service) == dict.fromkeys(VIDEOS, 2)
        assert client.wrong == []


def test_a_batch_in_doubt_waits_for_the_end_of_the_pause_and_goes_again_as_it_was(tmp_path):
    may_answer = []

    def answer(number, publish):
        return 200 if may_answer else Reply(0, raw=[])

    with (
        RecordingClient(answer) as client,
        open_service("embedded", tmp_path, f"publish.url={client.url}", *UNHURRIED, *PATIENT) as service,
    ):
        service.start()
        play(service, VIDEOS[:1])
        wait_until(lambda: client.received, "the first attempt")
        told(service, "pause", "publishing")
        wait_status(service, lambda status: status["publishes"]["failed"] >= 1, "its failure")
        may_answer.append(True)
        left = len(client.received)
        kill(service, "dispatcher")
        play(service, VIDEOS[1:2])
        wait_counted(service, 2)
        assert len(client.received) == left
        told(service, "resume", "publishing")
        wait_caught_up(service, 2)
        assert client.totals == dict.fromkeys(VIDEOS[:2], 1)
        first = client.received[0]  # two are on their way afterwards, and may come in any order
        assert (first.publish["batch"], first.body) in [
            (one.publish["batch"], one.body) for one in client.received[left:]
        ]


def test_a_stop_in_a_pause_publishes_nothing_and_the_next_start_does(client, tmp_path):
    settings = [f"publish.url={client.url}", *UNHURRIED, "supervisor.shutdown_timeout_s=60"]
    with open_service("embedded", tmp_path, *settings) as service:
        service.start()
        told(service, "pause", "publishing")
        play(service)
        wait_counted(service, 45)
        assert service.stop() == 0
        assert client.received == []
        assert "45 totals are not published, because publishing is paused, and kept in the" in service.log()
        assert "still holds something" not in service.log()
        service.start()
        status = wait_caught_up(service, 45)
        assert status["paused"] == {"consuming": False, "publishing": False}
        assert client.totals == ledger_totals(service) == dict.fromkeys(VIDEOS, 1)


# Settings


def test_a_setting_holds_at_once_through_kills_and_not_after_the_next_start(client, tmp_path):
    settings = [f"publish.url={client.url}", *UNHURRIED, *PATIENT]
    with open_service("embedded", tmp_path, *settings) as service:
        service.start()
        said = told(service, "set", "dispatch.realtime_linger_ms=60000")
        assert said == (
            "dispatch.realtime_linger_ms is 60000 until the next start; the config file is as it was"
        )
        told(service, "set", "publish.in_flight_max = 3")
        play(service)
        wait_counted(service, 45)
        status = kill(service, "dispatcher")
        play(service)
        wait_counted(service, 90)
        assert status["set_while_running"] == {
            "dispatch.realtime_linger_ms": 60_000,
            "publish.in_flight_max": 3,
        }
        shown = {one["key"]: one for one in json.loads(service.command("config", "--json").stdout)}
        linger = shown["dispatch.realtime_linger_ms"]
        assert (linger["value"], linger["source"], linger["is_default"]) == (
            60_000,
            "set while running",
            False,
        )
        assert client.received == [], "all lingers"
        told(service, "set", "dispatch.realtime_linger_ms=0")
        wait_caught_up(service, 90)
        assert sorted(len(one.publish["videos"]) for one in client.received) == [5, 20, 20]
        told(service, "set", "publish.in_flight_max=8")
        assert service.status()["set_while_running"] == {}, "as the settings say"
        told(service, "set", "publish.rate_max_per_s=0.001")
        play(service)
        wait_status(service, lambda status: status["pending_videos"] == 45, "all to wait for the limit")
        assert len(client.received) == 3
        told(service, "set", "publish.rate_max_per_s=100")
        wait_caught_up(service, 135)
        assert service.stop() == 0
        service.start()
        assert service.status()["set_while_running"] == {}
        assert client.totals == ledger_totals(service) == dict.fromkeys(VIDEOS, 3)


@pytest.mark.parametrize(
    ("assignment", "why"),
    [
        ("nsq.topic=x", "nsq.topic can't be set while the service runs, expected one of publish.rate_max"),
        ("publish.rate_max_per_s=fast", "publish.rate_max_per_s = 'fast', expected a number, 0 to 1000"),
        ("publish.in_flight_max=0", "publish.in_flight_max = 0, expected a number, 1 to 256"),
        (
            "dispatch.realtime_linger_ms=3000",
            "dispatch.realtime_linger_ms = 3000, expected at most dispatch.",
        ),
    ],
)
def test_what_can_not_be_set_is_refused_in_words(calm, assignment, why):
    assert refused(calm, "set", assignment).startswith(why)
    assert calm.status()["set_while_running"] == {}


# By HTTP, and the action log


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """A service for tests that change nothing."""
    with open_service("embedded", tmp_path_factory.mktemp("calm"), "dispatch.deadline_s=2") as service:
        service.start()
        yield service


REFUSED = [
    ("/pause/eating", "pause", None, 404, "pause 'eating', expected consuming or publishing"),
    ("/pause/consuming", "resume", None, 403, "expected the header X-Playtally-Action: pause"),
    ("/set", "set", b"{", 400, "Input data was truncated; expected"),
    ("/set", "set", {"setting": "publish.rate_max_per_s"}, 400, "Object missing required field `value`"),
    ("/set", "set", {"setting": "x.y", "value": "1"}, 400, "x.y can't be set while the service runs"),
    ("/children/counter-9/kill", "kill", None, 404, "no child 'counter-9', expected one of nsqd, client"),
    ("/children/%C3%A4%20b/kill", "kill", None, 404, "no child 'ä b', expected one of nsqd, client"),
    ("/children/counters/kill", "kill", None, 409, "counters is a supervisor and has no process of its own"),
    ("/children/client/kill", "kill", {"signal": "MURDER"}, 400, "no signal 'MURDER', expected a name like"),
    ("/children/client/kill", "terminate", None, 403, "expected the header X-Playtally-Action: kill"),
    ("/children/client/marry", "marry", None, 404, "no /children/client/marry here, expected"),
]


@pytest.mark.parametrize(("path", "action", "body", "code", "why"), REFUSED)
def test_a_request_that_can_not_be_done_is_refused_in_words(calm, path, action, body, code, why):
    found = post(calm, path, body, **action_headers(calm, action))
    assert found[0] == code and found[1].startswith(why), found


@pytest.mark.parametrize(
    "path", ["/pause/consuming", "/set", "/children/client/kill", "/reload", "/republish"]
)
def test_an_action_needs_a_post_the_secret_and_a_small_body(calm, path):
    url = f"http://{facts_of(calm)['admin_address']}{path}"
    with pytest.raises(urllib.error.HTTPError) as got, urllib.request.urlopen(url, timeout=60):
        pass
    assert (got.value.code, got.value.headers["Allow"]) == (405, "POST")
    got.value.close()
    action = path.split("/")[-1] if "kill" in path else path.split("/")[1]
    code, why = post(calm, path, **{"X-Playtally-Action": action, "Authorization": "Bearer guessed"})
    assert code == 401 and why.startswith("expected the header Authorization: Bearer <secret>")
    before = len(actions_of(calm))
    code, why = post(calm, path, b"x" * 20_000, **action_headers(calm, action))
    assert code in (400, 413) and why
    assert len(actions_of(calm)) == before


def test_a_signal_by_http_is_the_one_that_was_asked_for(calm):
    code, done = post(calm, "/children/client/kill", {"signal": "TERM"}, **action_headers(calm, "kill"))
    assert code == 200 and done.startswith("sent SIGTERM to client (pid ")
    status = wait_status(calm, lambda status: _of(status, "client")["incarnation"] == 2, "the next client")
    assert "SIGKILL" not in str(_of(status, "client")["last_exit"])


def _of(status, child_id):
    return next(one for one in status["children"] if one["id"] == child_id)


def test_each_action_is_in_the_action_log_also_after_a_kill_9_of_the_service(tmp_path):
    with open_service("embedded", tmp_path, *UNHURRIED, *PATIENT) as service:
        service.start()
        told(service, "pause", "publishing")
        refused(service, "set", "nsq.topic=x")
        told(service, "kill", "client", "--signal", "TERM")
        wait_status(service, lambda status: _of(status, "client")["incarnation"] == 2, "the next client")
        told(service, "terminate", "client")
        code, _ = post(service, "/children/client/delete", **action_headers(service, "delete"))
        assert code == 200
        told(service, "republish", "--all")
        assert service.command("reload").returncode == 0
        found = actions_of(service)
        assert [(one["action"], one["result"].partition(":")[0]) for one in reversed(found)] == [
            ("pause publishing", "done"),
            ("set nsq.topic = x", "refused"),
            ("kill client (SIGTERM)", "done"),
            ("terminate client", "done"),
            ("delete client", "done"),
            ("republish all videos", "done"),
            ("reload", "done"),
        ]
        by = [one["who"] for one in found if not one["action"].startswith("delete")]
        assert all(one.startswith("the command line, ") and "(uid " in one for one in by)
        assert {one["from"] for one in found} == {"127.0.0.1"}
        assert service.log().count(": pause publishing: done") == 1
        service.kill()
        wait_until(lambda: service.facts() is None, "the end of the service")
        file = service.state_dir / "actions.jsonl"
        assert file.stat().st_mode & 0o777 == 0o600
        with file.open("a") as damaged:
            damaged.write('{"at": "20')
        service.start()
        assert actions_of(service) == found
        told(service, "pause", "consuming")
        newest, *others = actions_of(service)
        assert others == found and newest["action"] == "pause consuming"


@pytest.mark.parametrize("may_act", [False, True])
def test_who_has_the_token_may_act_if_the_settings_say_so_and_the_action_log_says_who(tmp_path, may_act):
    token = "a-token-of-this-test-" + "x" * 32
    (tmp_path / "token").write_text(token)
    settings = [f"admin.token_file={tmp_path / 'token'}", f"admin.actions={str(may_act).lower()}"]
    with open_service("embedded", tmp_path, *UNHURRIED, *settings) as service:
        service.start()
        assert service.status()["actions_allowed"] is may_act
        headers = {
            "X-Playtally-Action": "pause",
            "X-Playtally-User": "root",
            "Authorization": f"Bearer {token}",
        }
        code, said = post(service, "/pause/publishing", **headers)
        assert service.status()["paused"]["publishing"] is may_act
        with pytest.raises(urllib.error.HTTPError, match="401") as got:
            actions_of(service)
        got.value.close()
        secret = action_headers(service, "")["Authorization"]
        request = urllib.request.Request(
            f"http://{facts_of(service)['admin_address']}/actions", headers={"Authorization": secret}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)["actions"]
        if may_act:
            assert (code, [(one["who"], one["action"]) for one in found]) == (
                200,
                [("token", "pause publishing")],
            )
        else:
            assert (code, found) == (403, []) and said.startswith("admin.actions = false")
