"""Asking for totals: at the admin address, at the reference client, by the command; also with bad input."""

import contextlib
import http.client
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.cli.launch import wait_for
from actors.core import guids
from actors.core.shards import shard_of
from actors.service.totals import CALL_TIMEOUT_S, LISTS_MAX
from tests.support.fuzzing import tries
from tests.support.patience import PATIENCE_S
from tests.support.services import PATIENT, UNHURRIED, open_service, wait_caught_up, wait_counted, wait_status

VIDEOS = [f"00000000-0000-4000-8000-0000000000{number:02d}" for number in range(1, 31)]
PLAYS = {video: 1 + number // 2 for number, video in enumerate(VIDEOS)}  # two videos of each total, 1 to 15
UNKNOWN = "5fec8982-705f-4a15-8228-3d03c74803e5"
PLACES = ["admin_address", "client_address"]
SPELLINGS = [str.upper, lambda guid: guid.replace("-", ""), lambda guid: f"{{{guid}}}", "urn:uuid:{}".format]
odd_names = st.sampled_from(["top", "below", "Top", "", "\0", "é"]) | st.text(max_size=5)
odd_values = st.sampled_from(["", "0", "-1", "1e3", "9" * 400, "²", " 5", "+5", "5\n", "nan"]) | st.text(
    max_size=9
)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service that has counted and published `PLAYS`. Its totals do not change."""
    path = tmp_path_factory.mktemp("totals")
    at_once = "dispatch.realtime_below=1000"
    with open_service("embedded", path, *UNHURRIED, *PATIENT, at_once, "counters.shards=3") as service:
        service.start()
        bodies = [b'{"video_id": "%b"}' % video.encode() for video in VIDEOS for _ in range(PLAYS[video])]
        service.queue.put("plays", *bodies)
        wait_caught_up(service, sum(PLAYS.values()))
        yield service


def ask(service, place, path, method="GET"):
    """Status and body of an answer."""
    with contextlib.closing(
        http.client.HTTPConnection(service.facts()[place], timeout=PATIENCE_S)
    ) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.getheader("Content-Type").startswith("application/json")
        return answer.status, json.loads(body) if body else None


def expected(top=len(VIDEOS), below=1000):
    found = sorted(PLAYS.items(), key=lambda one: (-one[1], one[0]))
    return [one for one in found if one[1] < below][:top]


@pytest.mark.parametrize("place", PLACES)
def test_a_video_is_asked_for_in_any_spelling_that_the_queue_takes(service, place):
    for video in VIDEOS:
        assert ask(service, place, f"/totals/{video}") == (200, {video: PLAYS[video]})
    for spelt in SPELLINGS:
        assert ask(service, place, f"/totals/{quote(spelt(VIDEOS[7]))}") == (
            200,
            {VIDEOS[7]: PLAYS[VIDEOS[7]]},
        )
    status, told = ask(service, place, f"/totals/{UNKNOWN.upper()}")
    assert (status, told["error"].lower()) in [
        (404, f"no play of {UNKNOWN} was {what}") for what in ("counted", "published")
    ]


@pytest.mark.parametrize("place", PLACES)
def test_the_greatest_and_those_below_are_asked_for(service, place):
    for query, bounds in (
        ("top=5", {"top": 5}),
        ("top=1000", {}),
        ("top=3&below=7", {"top": 3, "below": 7}),
        ("top=9&below=1", {"below": 1}),
    ):
        status, told = ask(service, place, f"/totals?{query}")
        assert (status, list(told.items())) == (200, expected(**bounds))
    assert ask(service, place, "/totals?below=7") == (200, dict(expected(below=7)))
    assert ask(service, place, "/totals?below=1") == (200, {})
    assert ask(service, place, "/totals") == (200, PLAYS)


@pytest.mark.parametrize("place", PLACES)
def test_bad_questions_are_refused_with_what_was_expected(service, place):
    for path, status, part in (
        ("/totals/x", 400, "'x' is not a GUID, expected a video as 8f14e45f-ceea-467f-a9d2-0c2f4b6c1d3e"),
        ("/totals/", 400, "'' is not a GUID"),
        (f"/totals/{VIDEOS[0]}/", 400, "is not a GUID"),
        ("/totals?top=0", 400, "top = '0', expected one whole number, 1 to 1000"),
        ("/totals?top=1001", 400, "top = '1001', expected one whole number, 1 to 1000"),
        ("/totals?below=many", 400, "below = 'many', expected one whole number, 1 to "),
        ("/totals?top=1&top=2", 400, "top is given 2 times, expected one"),
    ):
        found, told = ask(service, place, path)
        assert (found, part in told["error"]) == (status, True), (path, told)
    for path, status in (
        ("/totals", 200),
        ("/totals?top=x", 400),
        (f"/totals/{VIDEOS[0]}", 200),
        (f"/totals/{UNKNOWN}", 404),
        ("/totals/x", 400),
    ):
        assert ask(service, place, path, "HEAD") == (status, None), path


def test_an_unknown_word_is_refused_where_the_route_is_new_and_ignored_where_it_always_was(service):
    why = "'limit' is unknown, expected top=N, below=N or both"
    assert ask(service, "admin_address", "/totals?limit=5") == (400, {"error": why})
    assert ask(service, "client_address", "/totals?limit=5") == (200, PLAYS)


@pytest.mark.parametrize("place", PLACES)
def test_any_words_are_an_answer_or_refused_in_words(service, place):
    host, _, port = service.facts()[place].rpartition(":")

    @tries(60)
    @given(
        st.lists(st.tuples(odd_names, odd_values), max_size=3), st.none() | st.text(max_size=40) | st.binary()
    )
    def any_words(query, video):
        path = "/totals" if video is None else f"/totals/{quote(video, safe='')}"
        words = "&".join(f"{quote(name)}={quote(value)}" for name, value in query)
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("GET", f"{path}?{words}")
            answer = connection.getresponse()
            told = json.loads(answer.read())
        assert answer.status in (200, 400), (path, words, told)
        assert answer.status == 200 or (told.keys() == {"error"} and told["error"])

    any_words()
    assert ask(service, place, "/totals?top=1")[0] == 200
    assert "Traceback" not in service.log()


def of_shard(shard):
    """A video that this counter counts."""
    return next(video for video in VIDEOS if shard_of(guids.parse(video), 3) == shard)


def test_a_counter_that_is_down_is_named_and_all_others_answer(service):
    down, other = of_shard(2), of_shard(1)
    assert service.command("terminate", "counter-2").returncode == 0
    try:
        why = "counter-2 is stopped, expected running; `python supervisor.py restart counter-2` starts it"
        for path in (f"/totals/{down}", "/totals?top=5"):
            assert ask(service, "admin_address", path) == (503, {"error": why})
        # A list of all has begun when this counter is asked: its end is missing.
        with pytest.raises(http.client.IncompleteRead):
            ask(service, "admin_address", "/totals")
        assert ask(service, "admin_address", f"/totals/{other}") == (200, {other: PLAYS[other]})
        assert ask(service, "client_address", f"/totals/{down}") == (200, {down: PLAYS[down]})
    finally:
        assert service.command("restart", "counter-2").returncode == 0
    assert ask(service, "admin_address", f"/totals/{down}") == (200, {down: PLAYS[down]})


def test_lookups_at_a_hung_counter_end_are_bounded_and_hold_up_nothing(service):
    children = {child["id"]: child["pid"] for child in service.status()["children"]}
    os.kill(children["counter-0"], signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(LISTS_MAX + 2) as pool:
            asked = [
                pool.submit(ask, service, "admin_address", "/totals?top=5") for _ in range(LISTS_MAX + 2)
            ]
            wait_for(lambda: sum(one.done() for one in asked) == 2, "two to be refused at once", PATIENCE_S)
            # Its limit is another one, and so is its counter.
            other = of_shard(1)
            assert ask(service, "admin_address", f"/totals/{other}") == (200, {other: PLAYS[other]})
            assert sum(one.done() for one in asked) == 2
            told = sorted(one.result()[1]["error"] for one in asked)
        many = (
            f"{LISTS_MAX} lookups of several videos go on already, the most at a time; try again in a moment"
        )
        hung = f"counter-0 did not answer in {CALL_TIMEOUT_S} s, expected its totals; try again in a moment"
        assert told == [many, many, *[hung] * LISTS_MAX]
        assert {one.result()[0] for one in asked} == {503}
    finally:
        os.kill(children["counter-0"], signal.SIGCONT)
    status, told = ask(service, "admin_address", "/totals?top=5")
    assert (status, list(told.items())) == (200, expected(5))


def test_one_who_breaks_off_leaves_room_for_the_next(service):
    host, _, port = service.facts()["admin_address"].rpartition(":")
    for _ in range(3 * LISTS_MAX):
        with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
            connection.sendall(b"GET /totals HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_for(lambda: ask(service, "admin_address", "/totals")[0] == 200, "room for a list", PATIENCE_S)


def csv(rows):
    return "".join(["video_id,plays\n", *(f"{video},{plays}\n" for video, plays in rows)])


def test_the_command_prints_what_is_asked_for_while_the_service_runs_and_while_it_is_down(service):
    def printed(*words):
        result = service.command("totals", *words)
        assert (result.returncode, result.stderr) == (0, ""), words
        return result.stdout

    def all_hold():
        assert printed("--csv") == csv(expected())
        assert printed("--csv", "--top", "4", "--below", "9") == csv(expected(4, 9))
        assert printed("--csv", SPELLINGS[2](VIDEOS[3]), VIDEOS[20], VIDEOS[3].upper()) == csv(
            [(video, PLAYS[video]) for video in (VIDEOS[3], VIDEOS[20])]
        )
        assert list(json.loads(printed("--json", "--below", "3")).items()) == expected(below=3)
        assert json.loads(printed("--json", VIDEOS[5])) == {VIDEOS[5]: PLAYS[VIDEOS[5]]}
        assert "29 plays of 2 videos" not in printed("--top", "1") and "15 plays of 1 video" in printed(
            "--top", "1"
        )

    all_hold()
    assert service.stop() == 0
    try:
        all_hold()
        assert "ok, " in printed("--verify")
    finally:
        service.start()
        wait_status(service, lambda status: status["caught_up"], "the service to have caught up")


def test_the_command_names_videos_without_a_play_and_prints_the_others(service):
    result = service.command("totals", "--csv", UNKNOWN, VIDEOS[0])
    assert (result.returncode, result.stdout) == (1, csv([(VIDEOS[0], 1)]))
    assert result.stderr == f"no play of {UNKNOWN} was counted\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--json", "--csv"], "expected --json or --csv, not both"),
        (["--verify", "--top", "5"], "prints no total, expected no --top with it"),
        (["--verify", "--json"], "prints no total, expected no --json with it"),
        (["--top", "5", VIDEOS[0]], "expected GUIDs or --top, not both"),
        (["--below", "5", VIDEOS[0]], "expected GUIDs or --below, not both"),
        (["--top", "0"], "'0', expected a whole number, 1 to 999999999"),
        (["--below", "²"], "'²', expected a whole number, 1 to 999999999"),
        (["x"], "'x' is not a GUID, expected a video as 8f14e45f-ceea-467f-a9d2-0c2f4b6c1d3e"),
    ],
)
def test_words_that_contradict_each_other_or_are_no_number_are_refused(service, words, why):
    result = service.command("totals", *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert why in " ".join(result.stderr.split())


def test_plays_go_on_to_be_counted_while_totals_are_asked_for_all_the_time(service):
    """Runs last: it changes the totals."""
    before = service.status()["plays"]["counted"]
    until_s = time.monotonic() + 3
    asked = 0

    def asks():
        nonlocal asked
        while time.monotonic() < until_s:
            for path in ("/totals?top=1000", "/totals", f"/totals/{VIDEOS[0]}"):
                assert ask(service, "admin_address", path)[0] == 200
                asked += 1

    with ThreadPoolExecutor(3) as pool:
        askers = [pool.submit(asks) for _ in range(3)]
        put = 0
        while time.monotonic() < until_s:
            service.queue.put("plays", *[b'{"video_id": "%b"}' % VIDEOS[0].encode()] * 50)
            put += 50
        for one in askers:
            one.result()
    status = wait_counted(service, before + put)
    assert status["plays"]["counted"] == before + put and asked > 10
    assert ask(service, "admin_address", f"/totals/{VIDEOS[0]}") == (200, {VIDEOS[0]: PLAYS[VIDEOS[0]] + put})
    assert {child["incarnation"] for child in status["children"]} == {1}
