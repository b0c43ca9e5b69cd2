"""The reference client, in real processes and over real sockets: it keeps all that it confirms. The tests of
when a stream sends an event, and when it is dropped, use a virtual clock (`virtual_time.py`).
"""

import asyncio
import contextlib
import hashlib
import hmac
import http.client
import itertools
import json
import os
import pathlib
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tornado.iostream import IOStream

from actors.cli.recordings import read_publishes
from actors.client import events, listing, store
from actors.client.errors import MalformedPublish
from actors.client.publishes import BODY_BYTES_MAX, parse
from actors.client.reference import Reference
from actors.client.server import ReferenceClient
from actors.client.store import FILE_NAME, ClientStore
from actors.core.client.audit import Audit, Taken
from actors.core.client.promises import Promises, Publish, PublishedVideo
from actors.core.triggers import Trigger
from actors.system.exits import AddressFailure, StoreFailure
from tests.support.dying_connection import DyingConnection, Killed
from tests.support.needed import lacking
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.virtual_time import run_virtually

ROOT = pathlib.Path(__file__).parents[3]
A, B = (str(uuid.UUID(int=number)) for number in (1, 2))


class Process:
    """`python -m actors.client` in its own process."""

    def __init__(self, path, *arguments, port=0, environment=None):
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "actors.client",
                "--address",
                f"127.0.0.1:{port}",
                "--data-path",
                str(path),
                *arguments,
            ],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            env=os.environ | (environment or {}),
            text=True,
        )
        self.pid = self._process.pid
        line = self._process.stderr.readline()
        ready = re.search(r"ready at http://127\.0\.0\.1:(\d+)/", line)
        if not ready:
            raise RuntimeError(line + self._process.communicate()[1])
        self.port = int(ready.group(1))
        # Go on reading, so that a full pipe never stops the client.
        self._reading = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._reading.start()

    def end(self, number=signal.SIGKILL):
        self._process.send_signal(number)
        code = self._process.wait(PATIENCE_S)
        self._reading.join(PATIENCE_S)
        self._process.stderr.close()
        return code


@contextlib.contextmanager
def running(path, *arguments, **options):
    process = Process(path, *arguments, **options)
    try:
        yield process
    finally:
        process.end()


@pytest.fixture
def process(tmp_path):
    with running(tmp_path / "client") as process:
        yield process


def request(port, method, path, body=None, **headers):
    """Status, headers and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def get(port, path):
    status, _, body = request(port, "GET", path)
    assert status == 200, body
    return json.loads(body)


def content(batch, videos, trigger="deadline", arrived_at_ns=None):
    arrived_at_ns = time.time_ns() if arrived_at_ns is None else arrived_at_ns
    rows = [{"video_id": v, "plays": n, "arrived_at_ns": arrived_at_ns} for v, n in videos.items()]
    return {"batch": batch, "trigger": trigger, "videos": rows}


def tell(port, publish, **headers):
    body = publish if isinstance(publish, bytes) else json.dumps(publish).encode()
    headers = {"Content_Type": "application/json"} | headers
    status, _, answer = request(port, "POST", "/plays", body, **headers)
    return status, json.loads(answer)


# --- Taking publishes ----------------------------------------------------------------------


def test_what_was_published_is_in_the_totals_and_the_report(client):
    status, answer = tell(client.port, content("k1", {A: 1, B: 250}), Idempotency_Key="k1")
    assert (status, answer) == (200, {"batch": "k1", "duplicate": False})
    assert get(client.port, "/totals") == {A: 1, B: 250}
    report = get(client.port, "/report")
    assert report["publishes"]["total"] == report["publishes"]["deadline"] == 1
    assert report["plays"] == report["publishes_if_one_a_play"] == 251
    assert report["promises_broken"] == []


@pytest.mark.parametrize(
    ("held_up_ms", "sent_s_ago", "by_client"),
    [
        (None, None, 0),
        ("9000", None, 0),
        ("31000", None, 1),
        (None, 29, 0),
        (None, 31, 1),
        ("16000", 15, 1),
        ("16000", -3600, 0),
        ("-31000", None, 0),
        ("3.1e4", None, 0),
        ("9" * 400, None, 0),
        ("²", None, 0),
    ],
)
def test_what_came_late_because_of_this_client_is_no_broken_promise(
    client, held_up_ms, sent_s_ago, by_client
):
    headers = {} if held_up_ms is None else {"X_Playtally_Held_Up_Ms": held_up_ms}
    if sent_s_ago is not None:
        headers["X_Playtally_Sent_At_Ms"] = str(time.time_ns() // 1_000_000 - sent_s_ago * 1000)
    tell(client.port, content("k1", {A: 100}, arrived_at_ns=time.time_ns() - 90 * 10**9), **headers)
    report = get(client.port, "/report")
    assert (report["late"], report["late_by_client"]) == (1, by_client)
    assert report["promises_broken_by_promise"]["deadline"] == 1 - by_client


def test_the_report_says_how_many_publishes_were_together(client):
    """The heads of five requests come, and each is taken up; then their bodies."""
    assert tell(client.port, content("alone", {A: 1}))[0] == 200
    bodies = [json.dumps(content(f"k{number}", {A: number})).encode() for number in range(10, 15)]
    with contextlib.ExitStack() as stack:
        ends = []
        for body in bodies:
            end = stack.enter_context(socket.create_connection(("127.0.0.1", client.port), PATIENCE_S))
            head = (
                "POST /plays HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
            )
            end.sendall(head.encode())
            assert b"100" in end.recv(1000)  # from now on it is counted
            ends.append(end)
        for end, body in zip(ends, bodies, strict=True):
            end.sendall(body)
        assert [end.recv(1000).split()[1] for end in ends] == [b"200"] * 5
    assert get(client.port, "/report")["together"] == {"1": 1, "5": 5}


def test_publishes_that_waited_for_a_halted_client_were_together(process):
    with contextlib.ExitStack() as stack:
        ends = [
            stack.enter_context(socket.create_connection(("127.0.0.1", process.port), PATIENCE_S))
            for _ in range(5)
        ]
        for end in ends:
            end.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in end.recv(10_000)
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, "the halt")
        for number, end in enumerate(ends, 1):
            body = json.dumps(content(f"k{number}", {A: number})).encode()
            head = "POST /plays HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            end.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        os.kill(process.pid, signal.SIGCONT)
        assert [end.recv(10_000).split()[1] for end in ends] == [b"200"] * 5
    assert get(process.port, "/report")["together"] == {"5": 5}


def test_requests_that_are_broken_off_are_together_with_nothing(client):
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", client.port), PATIENCE_S) as end:
            end.sendall(
                b"POST /plays HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
            )
            assert b"100" in end.recv(1000)
    numbers = itertools.count(1)

    def is_alone():
        number = next(numbers)
        assert tell(client.port, content(f"k{number}", {A: number}))[0] == 200
        return "1" in get(client.port, "/report")["together"]

    wait_until(is_alone, "the broken requests to be forgotten")


def test_the_same_key_and_content_again_is_a_duplicate_and_changes_nothing(client):
    publish = content("k1", {A: 5})
    tell(client.port, publish)
    before = get(client.port, "/report")
    assert tell(client.port, publish) == (200, {"batch": "k1", "duplicate": True})
    assert get(client.port, "/report") == before | {"duplicates": 1}


def test_the_same_key_with_other_content_is_refused_and_recorded(client):
    tell(client.port, content("k1", {A: 5}))
    status, answer = tell(client.port, content("k1", {A: 6}))
    assert status == 409
    assert "k1" in answer["error"]
    assert get(client.port, "/totals") == {A: 5}
    assert get(client.port, "/report")["promises_broken"][0]["promise"] == "one_content_a_key"


def test_guids_in_capitals_name_the_same_video(client):
    name = "ABCDEFAB-0000-4000-8000-00000000000C"
    tell(client.port, content("k1", {name: 1}))
    tell(client.port, content("k2", {name.lower(): 2}))
    assert get(client.port, "/totals") == {name.lower(): 2}


def entry(**changes):
    row = {"video_id": A, "plays": 1, "arrived_at_ns": 1} | changes
    return {key: value for key, value in row.items() if value is not None}


def shape(**changes):
    body = {"batch": "k", "trigger": "drain", "videos": [entry()]} | changes
    return json.dumps({key: value for key, value in body.items() if value is not None}).encode()


MALFORMED = [
    (b"", "body"),
    (b"\xff\xfe", "body"),
    (b"{not json", "body"),
    (b"[]", "body"),
    (b"null", "body"),
    (b'{"batch": "\xff"}', "body"),
    (b'{"x":' + b"[" * 30_000, "body"),
    (b" " * BODY_BYTES_MAX + b"{}", "body"),
    (shape(batch=None), "batch"),
    (shape(batch=7), "batch"),
    (shape(batch=""), "batch"),
    (shape(batch="k\n"), "batch"),
    (shape(batch="k" * 201), "batch"),
    (shape(trigger="soon"), "trigger"),
    (shape(trigger=None), "trigger"),
    (shape(videos=None), "videos"),
    (shape(videos={}), "videos"),
    (shape(videos=[7]), "videos[0]"),
    (shape(videos=[entry(), entry(video_id="A")]), "videos[1].video_id"),
    (shape(videos=[entry(video_id=A + "\n")]), "videos[0].video_id"),
    (shape(videos=[entry(video_id=A.replace("-", ""))]), "videos[0].video_id"),
    (shape(videos=[entry(video_id=None)]), "videos[0].video_id"),
    (shape(videos=[entry(plays=-1)]), "videos[0].plays"),
    (shape(videos=[entry(plays=1.5)]), "videos[0].plays"),
    (shape(videos=[entry(plays="1")]), "videos[0].plays"),
    (shape(videos=[entry(plays=2**53)]), "videos[0].plays"),
    (shape(videos=[entry(plays=10**40)]), "videos[0].plays"),
    (shape(videos=[entry(plays=True)]), "videos[0].plays"),
    (shape(videos=[entry(arrived_at_ns=-1)]), "videos[0].arrived_at_ns"),
    (shape(videos=[entry(arrived_at_ns=2**63)]), "videos[0].arrived_at_ns"),
    (shape(videos=[entry(arrived_at_ns=None)]), "videos[0].arrived_at_ns"),
]


def test_malformed_publishes_are_refused_in_one_line_that_names_the_field(client):
    for body, field in MALFORMED:
        status, headers, answer = request(
            client.port, "POST", "/plays", body, Content_Type="application/json"
        )
        assert (status, headers["Content-Type"]) == (400, "application/json"), body[:80]
        assert answer.count(b"\n") == 1
        problem = json.loads(answer)
        assert (problem["field"], body[:80]) == (field, body[:80])
        assert problem["error"].startswith(field + ": ")
        assert problem["expected"] in problem["error"]
    assert get(client.port, "/report")["publishes"]["total"] == 0


def test_a_republish_has_no_arrival_and_any_total_may_come_again(client):
    tell(client.port, content("k1", {A: 5, B: 1}))
    again = {"batch": "k2", "trigger": "republish", "videos": [entry(plays=5, arrived_at_ns=None)]}
    assert tell(client.port, again)[0] == 200
    assert (
        tell(client.port, again | {"batch": "k3", "videos": [entry(plays=4, arrived_at_ns=None)]})[0] == 200
    )
    assert get(client.port, "/totals") == {A: 4, B: 1}
    report = get(client.port, "/report")
    assert report["publishes"]["republish"] == 2
    assert report["promises_broken_total"] == 0
    assert (report["late"], report["realtime_latency_ms"]["count"]) == (0, 0)


def test_a_key_in_the_header_must_be_the_batch_and_the_type_must_be_json(client):
    publish = content("k1", {A: 1})
    assert tell(client.port, publish, Idempotency_Key="k2")[1]["field"] == "Idempotency-Key"
    assert tell(client.port, publish, Content_Type="text/plain")[1]["field"] == "Content-Type"
    assert tell(client.port, publish, Content_Type="application/json; charset=utf-8")[0] == 200


def memory_peak_kib(process):
    status = pathlib.Path(f"/proc/{process.pid}/status")
    if not status.exists():
        lacking("no /proc to read the memory of a process from")
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text()).group(1))


def test_a_huge_body_is_refused_without_being_held(process):
    before = memory_peak_kib(process)
    for _ in range(4):
        # The client refuses the body while it is sent: with an answer, or by ending the connection.
        with contextlib.suppress(ConnectionError):
            parts = (b" " * 65536 for _ in range(1024))
            status, _, _ = request(process.port, "POST", "/plays", parts, Content_Type="application/json")
            assert status == 400
    assert memory_peak_kib(process) - before < 16 * 1024
    assert tell(process.port, content("k1", {A: 1}))[0] == 200


def test_many_long_bodies_at_once_are_refused_in_json_without_being_held(process):
    before = memory_peak_kib(process)
    head = b"POST /plays HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        senders = [
            stack.enter_context(socket.create_connection(("127.0.0.1", process.port), PATIENCE_S))
            for _ in range(30)
        ]
        for sender in senders:
            sender.sendall(head + b" " * 999_999)
        for sender in senders:
            sender.sendall(b" ")
        for sender in senders:
            answer = http.client.HTTPResponse(sender)
            answer.begin()
            assert (answer.status, json.loads(answer.read())["field"]) == (400, "body")
    # 30 MB were sent. The client may hold 64 KiB of each body, and as much again in its buffer.
    assert memory_peak_kib(process) - before < 12 * 1024


def test_with_a_secret_only_signed_publishes_are_taken(tmp_path):
    body = json.dumps(content("k1", {A: 1})).encode()
    signature = "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    with running(tmp_path, "--secret-env", "T_SECRET", environment={"T_SECRET": "s3cret"}) as it:
        assert tell(it.port, body)[0] == 401
        assert tell(it.port, body, X_Playtally_Signature="sha256=\xe9")[0] == 401
        assert tell(it.port, body + b" ", X_Playtally_Signature=signature)[0] == 401
        assert get(it.port, "/totals") == {}
        assert tell(it.port, body, X_Playtally_Signature=signature)[0] == 200


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([A, "realtime", "k"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["batch", "trigger", "videos", "video_id", "plays", "arrived_at_ns", "x"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_the_bytes_are_they_are_a_publish_or_malformed(body):
    try:
        publish = parse(body, content_type="application/json", idempotency_key=None)
    except MalformedPublish as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(publish, Publish)


# --- Confirmed publishes are kept through kills --------------------------------------------


def test_nothing_confirmed_is_lost_when_the_client_is_killed_in_mid_load(tmp_path):
    """Two senders, each with its own video, repeat each unconfirmed publish under the same key."""
    videos = [str(uuid.UUID(int=number)) for number in (11, 12)]
    confirmed = dict.fromkeys(videos, 0)
    problems, stopping = [], threading.Event()
    port = [0]

    def send(video):
        total = 0
        while not stopping.is_set():
            total += 1
            publish = content(f"{video[-2:]}-{total}", {video: total}, "realtime")
            while True:
                try:
                    status, answer = tell(port[0], publish, Idempotency_Key=publish["batch"])
                except (OSError, http.client.HTTPException):
                    time.sleep(0.01)  # a pause: the client is dead now
                    continue
                if status != 200:
                    problems.append(answer)
                    return
                break
            confirmed[video] = total

    def grown_by(count, since):
        return lambda: problems or sum(confirmed.values()) >= since + count

    process = Process(tmp_path)
    port[0] = process.port
    senders = [threading.Thread(target=send, args=(video,)) for video in videos]
    try:
        for sender in senders:
            sender.start()
        for _ in range(3):
            wait_until(grown_by(60, sum(confirmed.values())), "more publishes")
            process.end(signal.SIGKILL)
            at_least = dict(confirmed)
            process = Process(tmp_path, port=port[0])
            totals = get(port[0], "/totals")
            assert {video: totals[video] >= at_least[video] for video in videos} == dict.fromkeys(
                videos, True
            )
        wait_until(grown_by(20, sum(confirmed.values())), "publishes after the last kill")
    finally:
        stopping.set()
        for sender in senders:
            sender.join(PATIENCE_S)
        report, totals = get(port[0], "/report"), get(port[0], "/totals")
        process.end()
    assert problems == []
    assert totals == confirmed
    assert report["promises_broken_by_promise"]["only_changed"] == 0
    assert report["promises_broken_total"] == 0
    assert report["publishes"]["total"] == sum(confirmed.values())


def test_the_report_is_the_same_after_a_kill(tmp_path):
    with running(tmp_path, "--deadline-s", "2.5") as process:
        long_ago = time.time_ns() - 10**11
        for number in range(1, 40):
            trigger = list(Trigger)[number % 4]
            arrived = long_ago if number % 9 == 0 else None
            tell(process.port, content(f"k{number}", {A: number, B: 3 * number}, trigger, arrived))
        tell(process.port, content("k3", {A: 1}))
        before = get(process.port, "/report")
    assert before["promises_broken_total"] > 1
    with running(tmp_path, "--deadline-s", "2.5") as process:
        assert get(process.port, "/report") == before
        assert get(process.port, "/totals") == {A: 39, B: 117}
        assert tell(process.port, content("k3", {A: 1}))[0] == 409


def test_a_publish_that_the_disk_refuses_is_not_taken_and_works_when_there_is_room(process):
    if not hasattr(resource, "prlimit"):
        lacking("no prlimit here to make the disk seem full")
    assert tell(process.port, content("k1", {A: 1}))[0] == 200
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
    refused = content("k2", {A: 2})
    status, answer = tell(process.port, refused)
    assert status == 503
    assert FILE_NAME in answer["error"]
    assert get(process.port, "/totals") == {A: 1}
    assert get(process.port, "/report")["publishes"]["total"] == 1
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))
    assert tell(process.port, refused) == (200, {"batch": "k2", "duplicate": False})
    assert get(process.port, "/totals") == {A: 2}


def test_a_full_disk_is_one_line_and_one_when_it_is_over(client, monkeypatch, caplog):
    caplog.set_level("INFO")
    real = ClientStore.commit

    def full(*arguments):
        raise StoreFailure("client.sqlite cannot be written: database or disk is full")

    monkeypatch.setattr(ClientStore, "commit", full)
    for _ in range(9):
        assert tell(client.port, content("k1", {A: 1}))[0] == 503
    monkeypatch.setattr(ClientStore, "commit", real)
    for number in range(2, 9):
        assert tell(client.port, content(f"k{number}", {A: number}))[0] == 200
    lines = [one.getMessage() for one in caplog.records if one.name.startswith("actors")]
    assert len(lines) == 2
    assert "disk is full" in lines[0] and "can be written again" in lines[1]


class FullFile:
    """A file that takes no byte while `is_full`."""

    name, is_full = "plays.jsonl", True

    def write(self, line):
        if self.is_full:
            raise OSError(28, "No space left on device")


def test_a_recording_that_can_not_be_written_is_one_line_and_one_when_it_is_over(tmp_path, caplog):
    caplog.set_level("INFO")
    with contextlib.closing(ClientStore(tmp_path)) as store:
        client = Reference(store, store.load(Promises()), None, file := FullFile())
        for number in range(1, 20):
            file.is_full = number < 10
            client.receive(Publish(f"k{number}", Trigger.DRAIN, (PublishedVideo(A, number, number),)))
    lines = [one.getMessage() for one in caplog.records if "record" in one.getMessage()]
    assert len(lines) == 2
    assert "cannot be recorded" in lines[0] and "are recorded again" in lines[1]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_publish_is_written_whole_or_not_at_all(tmp_path, after, monkeypatch):
    monkeypatch.setattr(store, "JOURNAL_MAX", 0)
    outcomes = []
    for statement in range(1, 99):
        with contextlib.closing(ClientStore(tmp_path / f"{statement}")) as opened:
            audit = opened.load(Promises())
            first = Publish("k1", Trigger.DRAIN, (PublishedVideo(A, 2, 1), PublishedVideo(B, 1, 1)))
            commit(opened, audit, first, 1)
            before = stored_in(opened)
            # it falls, so that a broken promise is written too
            second = Publish("k2", Trigger.DRAIN, (PublishedVideo(A, 1, 1), PublishedVideo(B, 5, 1)))
            opened._database = DyingConnection(opened._database, statement, after)
            try:
                commit(opened, audit, second, 2)
            except Killed:
                outcomes.append(None)
        with contextlib.closing(ClientStore(tmp_path / f"{statement}")) as opened:
            changed = [old != new for old, new in zip(before, stored_in(opened), strict=True)]
        if len(outcomes) < statement:
            break
        outcomes[-1] = changed
    assert all(changed), "the whole commit changes every table"
    assert len(outcomes) >= 6, "begin, four writes and commit"
    assert outcomes == [[False] * 4] * (len(outcomes) - 1) + [[after] * 4]


def commit(opened, audit, publish, received_at_ns):
    taken = [Taken(publish, received_at_ns, 0, 1, audit.promises)]
    opened.commit(taken, audit.receive_again(taken), audit)


def stored_in(opened):
    """The rows of each table."""
    tables = ("parts", "batches", "broken", "statistics")
    return [opened._database.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


def test_the_store_keeps_only_as_many_keys_as_the_audit(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "JOURNAL_MAX", 1)
    opened = ClientStore(tmp_path)
    audit = Audit(Promises(), keys_max=3)
    for number in range(1, 9):
        publish = Publish(f"k{number}", Trigger.DRAIN, (PublishedVideo(A, number, number),))
        commit(opened, audit, publish, number)
    loaded = opened.load(Promises())
    opened.close()
    again = [
        loaded.receive(Publish(f"k{n}", Trigger.DRAIN, (PublishedVideo(A, n, n),)), 9).verdict.name
        for n in (6, 7, 8, 5)
    ]
    assert again == ["DUPLICATE", "DUPLICATE", "DUPLICATE", "ACCEPTED"]


# --- Refusing to start ---------------------------------------------------------------------


def test_what_it_takes_is_recorded_as_an_audit_reads_it_through_a_restart(tmp_path):
    record = tmp_path / "record"
    before_ns = time.time_ns()
    for key, plays in (("k1", 1), ("k2", 2)):
        with running(tmp_path / "client", "--record", str(record)) as process:
            publish = content(key, {A: plays})
            for _ in range(plays):
                assert tell(process.port, publish)[0] == 200
            assert tell(process.port, b"no publish")[0] == 400
    received = read_publishes(str(record), None)
    assert [one.publish.batch for one in received] == ["k1", "k2", "k2"]
    assert received[1].publish.videos == (PublishedVideo(A, 2, publish["videos"][0]["arrived_at_ns"]),)
    times_ns = [one.received_at_ns for one in received]
    assert times_ns == sorted(times_ns) and before_ns < times_ns[0] and times_ns[-1] < time.time_ns()


def test_a_file_that_cannot_be_recorded_to_is_named_and_the_store_is_let_go(tmp_path):
    with pytest.raises(RuntimeError, match=r"/none/record: No such file .*expected a file to record"):
        Process(tmp_path / "client", "--record", str(tmp_path / "none" / "record"))
    with running(tmp_path / "client"):
        pass


def test_a_second_client_on_one_store_is_refused(client, tmp_path):
    refused = pytest.raises(RuntimeError, match=r"client\.lock is locked.*stop the other")
    with refused, running(tmp_path / "client"):
        pass


# tornado does not close a socket that it can't bind; the garbage collector does.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_address_in_use_is_named_and_the_store_is_let_go(client, tmp_path):
    address = f"127.0.0.1:{client.port}"

    async def start():
        with pytest.raises(AddressFailure, match=f"{address}.*in use.*port 0"):
            ReferenceClient.start(tmp_path / "other", address)
        free = ReferenceClient.start(tmp_path / "other", "127.0.0.1:0")
        assert free.port > 0
        await free.stop()
        await free.stop()

    asyncio.run(start())


@pytest.mark.parametrize("address", ["8080", ":8080", "127.0.0.1:", "127.0.0.1:65536", "h:http"])
def test_an_address_that_is_none_is_refused(tmp_path, address):
    with pytest.raises(AddressFailure, match='expected "host:port"'):
        ReferenceClient.start(tmp_path, address)


def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"no database " * 100)
    with pytest.raises(StoreFailure, match=f"{FILE_NAME} cannot be opened.*move the file away"):
        ReferenceClient.start(tmp_path, "127.0.0.1:0")
    assert (tmp_path / FILE_NAME).read_bytes() == b"no database " * 100


# --- The page and its streams --------------------------------------------------------------


def test_unknown_paths_and_methods_are_answered_in_json(client):
    for method, path, expected in [
        ("GET", "/nope", 404),
        ("GET", "/page/../store.py", 404),
        ("GET", "/plays", 405),
        ("DELETE", "/totals", 405),
    ]:
        status, headers, body = request(client.port, method, path)
        assert (status, headers["Content-Type"]) == (expected, "application/json")
        assert "error" in json.loads(body)
    assert get(client.port, "/healthz") == {"healthy": True}


def test_the_page_is_of_this_origin_only_and_cached_by_its_tag(client):
    status, headers, page = request(client.port, "GET", "/")
    policy = headers["Content-Security-Policy"]
    assert (status, headers["Cache-Control"]) == (200, "no-cache")
    assert policy.startswith("default-src 'self';") and "unsafe" not in policy
    assert b"://" not in page.replace(b"http-equiv", b"")
    assert not re.search(rb"<style|style=|\son\w+=|<script(?![^>]*src=)", page)
    for name in set(re.findall(rb'(?:src|href)="(/[\w.]+)"', page)):
        assert request(client.port, "GET", name.decode())[0] == 200
    assert request(client.port, "GET", "/", If_None_Match=headers["Etag"])[0] == 304


class EventReader:
    """Reads one stream in a thread, to the end of the stream. `events` are (name, content)."""

    def __init__(self, port):
        self.events, self.ended = [], False
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        self._connection.request("GET", "/events")
        self._answer = self._connection.getresponse()
        self.status = self._answer.status
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        name = ""
        with contextlib.closing(self._connection), contextlib.suppress(OSError, http.client.HTTPException):
            while line := self._answer.readline():
                if line.startswith(b"event: "):
                    name = line[7:].decode().strip()
                elif line.startswith(b"data: "):
                    self.events.append((name, json.loads(line[6:])))
        self.ended = True


def test_a_stream_begins_with_everything_and_goes_on_with_changes(client):
    tell(client.port, content("k1", {A: 1, B: 7}))
    reader = EventReader(client.port)
    wait_until(lambda: reader.events, "a snapshot")
    tell(client.port, content("k2", {A: 2}))
    wait_until(lambda: len(reader.events) > 1, "a change")
    (first, snapshot), (second, change) = reader.events[:2]
    assert (first, second) == ("snapshot", "change")
    assert {row[0]: row[1] for row in snapshot["videos"]} == {A: 1, B: 7}
    assert [row[:2] for row in change["videos"]] == [[A, 2]]
    assert change["report"]["plays"] == 9
    assert abs(change["now_ms"] - time.time() * 1000) < 60_000


def test_a_client_told_to_stop_ends_its_open_streams_and_exits_cleanly(process):
    readers = [EventReader(process.port) for _ in range(3)]
    wait_until(lambda: all(reader.events for reader in readers), "three open streams")
    assert process.end(signal.SIGTERM) == 0
    wait_until(lambda: all(reader.ended for reader in readers), "the end of the streams")


def test_no_more_streams_than_the_bound_and_a_closed_one_makes_room(client, caplog):
    held = []
    for _ in range(events.STREAMS_MAX):
        held.append(socket.create_connection(("127.0.0.1", client.port)))
        held[-1].sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert held[-1].recv(12) == b"HTTP/1.1 200"
    for _ in range(3):
        assert request(client.port, "GET", "/events")[0] == 503
    assert ["too many" in one.getMessage() for one in caplog.records if one.name.startswith("actors")] == [
        True
    ]
    held.pop().close()
    freed = wait_until(lambda: (reader := EventReader(client.port)).status == 200 and reader, "room for one")
    wait_until(lambda: freed.events, "its snapshot")
    for connection in held:
        connection.close()


# --- The streams on a virtual clock ---------------------------------------------------------


@contextlib.asynccontextmanager
async def in_this_loop(path):
    """A client that runs in this loop."""
    client = ReferenceClient.start(path, "127.0.0.1:0")
    try:
        yield client
    finally:
        await client.stop()


class Stream:
    """One stream of a client that runs in this loop. `events` are (time in s, name, content)."""

    def __init__(self, client):
        self.events = []
        self._client = client

    async def __aenter__(self):
        theirs, ours = socket.socketpair()
        self._client._server.handle_stream(IOStream(theirs), ("127.0.0.1", 0))
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=10**8)
        self._writer.write(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert await self._reader.readline() == b"HTTP/1.1 200 OK\r\n"
        self._reading = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, *_):
        self._writer.close()
        await self._reading

    async def _read(self):
        name = ""
        while line := await self._reader.readline():
            if line.startswith(b"event: "):
                name = line[7:].decode().strip()
            elif line.startswith(b"data: "):
                self.events.append((asyncio.get_running_loop().time(), name, json.loads(line[6:])))

    def totals(self):
        told = {}
        for _, _, content in self.events:
            told |= {video_id: plays for video_id, plays, _ in content["videos"]}
        return told


def test_many_publishes_are_few_events_and_the_last_total_is_told(tmp_path):
    async def scene():
        async with in_this_loop(tmp_path) as client, Stream(client) as stream:
            for number in range(1, 301):
                client.receive(Publish(f"k{number}", Trigger.DRAIN, (PublishedVideo(A, number, number),)))
                await asyncio.sleep(0.01)
            last_s = asyncio.get_running_loop().time() - 0.01
            await asyncio.sleep(events.EVENT_INTERVAL_S)
            assert stream.totals() == {A: 300}
            told_s = [when_s for when_s, *_ in stream.events]
            assert told_s[-1] <= last_s + events.EVENT_INTERVAL_S
            pauses_s = [b - a for a, b in itertools.pairwise(told_s)]
            assert pauses_s == pytest.approx([events.EVENT_INTERVAL_S] * 30)

    run_virtually(scene)


def test_a_stream_that_has_nothing_to_tell_says_so_now_and_then(tmp_path):
    async def scene():
        async with in_this_loop(tmp_path) as client, Stream(client) as stream:
            await asyncio.sleep(60)
            told_s = [when_s for when_s, *_ in stream.events]
            pauses_s = [b - a for a, b in itertools.pairwise(told_s)]
            pulse_s = events.EVENT_INTERVAL_S + events.PULSE_INTERVAL_S
            assert pauses_s == pytest.approx([pulse_s] * int(60 / pulse_s))

    run_virtually(scene)


def change_everything(client, number, videos=10_000):
    """Publish new totals of all videos. The event has 600 kB, which is more than a socket's buffers hold."""
    for batch in range(videos // 20):
        names = (str(uuid.UUID(int=batch * 20 + n)) for n in range(20))
        rows = tuple(PublishedVideo(name, number, time.time_ns()) for name in names)
        client.receive(Publish(f"{number}-{batch}", Trigger.DRAIN, rows))


def test_a_browser_that_reads_nothing_is_dropped_and_the_others_go_on(tmp_path):
    async def scene():
        async with in_this_loop(tmp_path) as client, Stream(client) as stream:
            theirs, stuck = socket.socketpair()
            with stuck:
                client._server.handle_stream(IOStream(theirs), ("127.0.0.1", 0))
                stuck.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                await asyncio.sleep(1)
                assert client.streams.count() == 2
                change_everything(client, 1)
                await asyncio.sleep(events.SLOW_TIMEOUT_S - 0.01)
                assert client.streams.count() == 2
                change_everything(client, 2)
                await asyncio.sleep(events.EVENT_INTERVAL_S + 0.02)
                assert client.streams.count() == 1
                assert set(stream.totals().values()) == {2}

    run_virtually(scene)


def test_a_reader_that_missed_more_changes_than_an_event_holds_gets_a_new_snapshot(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "VIDEOS_PER_EVENT_MAX", 4)

    async def scene():
        async with in_this_loop(tmp_path) as client, Stream(client) as stream:
            await asyncio.sleep(1)
            for videos in (3, 4, 5):
                change_everything(client, videos, 20)
                tell_some(client, videos)
                await asyncio.sleep(1)
            assert [name for _, name, _ in stream.events] == ["snapshot"] * 4
            tell_some(client, 9)
            await asyncio.sleep(1)
            assert stream.events[-1][1:2] == ("change",)
            assert len(stream.events[-1][2]["videos"]) == 2

    run_virtually(scene)


def tell_some(client, plays):
    """Publish totals of two videos of those that have the fewest plays."""
    rows = tuple(PublishedVideo(str(uuid.UUID(int=n)), plays, time.time_ns()) for n in (0, 1))
    client.receive(Publish(f"some {plays}", Trigger.DRAIN, rows))


def test_a_snapshot_of_many_videos_holds_up_no_publish_and_is_made_once_for_all_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "SEARCHED_VIDEOS", 100)
    monkeypatch.setattr(events, "VIDEOS_PER_EVENT_MAX", 50)

    async def scene():
        async with in_this_loop(tmp_path) as client:
            change_everything(client, 1, 10_000)
            taken = []  # the parts, of all snapshots
            parts = client.listing.parts

            async def counted_parts(part_videos):
                async for part in parts(part_videos):
                    taken.append(part)
                    yield part

            async def publish_meanwhile():
                while len(taken) < 10:
                    await asyncio.sleep(0)
                tell_some(client, 7)
                assert len(taken) < 100

            monkeypatch.setattr(client.listing, "parts", counted_parts)
            one, other = Stream(client), Stream(client)
            await asyncio.gather(one.__aenter__(), other.__aenter__(), publish_meanwhile())
            await asyncio.sleep(1)
            for stream in (one, other):
                assert {str(uuid.UUID(int=n)): 7 for n in (0, 1)}.items() <= stream.totals().items()
                assert [name for _, name, _ in stream.events] == ["snapshot", "change"]
                assert len(stream.events[0][2]["videos"]) == 50
                await stream.__aexit__()
            assert len(taken) == 100

    run_virtually(scene)


def test_a_snapshot_in_parts_and_the_changes_meanwhile_are_together_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "SEARCHED_VIDEOS", 100)
    monkeypatch.setattr(events, "PART_VIDEOS", 100)

    async def scene():
        async with in_this_loop(tmp_path) as client:
            change_everything(client, 1, 3000)
            chance, published, ends = random.Random(1), 0, False

            async def publish_in_each_turn():
                nonlocal published
                while not ends:
                    published += 1
                    numbers = [*chance.sample(range(3000), 3), 3000 + published]
                    rows = [PublishedVideo(str(uuid.UUID(int=n)), 1 + published, 1) for n in numbers]
                    client.receive(Publish(f"meanwhile {published}", Trigger.REPUBLISH, tuple(rows)))
                    await asyncio.sleep(0)

            publishing = asyncio.ensure_future(publish_in_each_turn())
            async with Stream(client) as stream:
                while not stream.events:
                    await asyncio.sleep(0)
                ends = True
                await publishing
                # 30 parts that are searched, and 30 that are encoded: the loop turns in between
                assert published >= 60
                await asyncio.sleep(1)
                assert [name for _, name, _ in stream.events] == ["snapshot", "change"]
                assert stream.totals() == client.audit.totals()

    run_virtually(scene)


def test_an_event_is_bounded_to_the_videos_with_the_most_plays(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "VIDEOS_PER_EVENT_MAX", 2)

    async def scene():
        async with in_this_loop(tmp_path) as client:
            rows = tuple(PublishedVideo(str(uuid.UUID(int=n)), n, time.time_ns()) for n in (5, 9, 1, 7))
            client.receive(Publish("k", Trigger.DRAIN, rows))
            async with Stream(client) as stream:
                await asyncio.sleep(1)
                assert sorted(stream.totals().values()) == [7, 9]
                assert stream.events[0][2]["report"]["videos"] == 4
                assert client.streams.count() == 1

    run_virtually(scene)


@pytest.mark.parametrize("seconds", ["0", "-1", "inf", "nan"])
def test_a_deadline_that_is_no_time_is_refused(tmp_path, seconds):
    words = ["--address", "127.0.0.1:0", "--data-path", str(tmp_path), f"--deadline-s={seconds}"]
    ran = subprocess.run(
        [sys.executable, "-m", "actors.client", *words], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert ran.returncode == 2
    assert f"{seconds}, expected more than 0" in ran.stderr
