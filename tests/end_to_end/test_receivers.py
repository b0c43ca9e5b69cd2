"""The receivers of examples/ beside the real service, and beside forged, old, hostile and many publishes.

What they answer is what docs/publishing.md asks of a client.
"""

import ast
import gzip
import json
import re
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.patience import PATIENCE_S, wait_until
from tests.support.receivers import EXAMPLES, LANGUAGES, SECRETS, Receiver, command_of, publish_of, signed
from tests.support.services import Load, ledger_totals, open_service, wait_caught_up

VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 41)]
NEW, OLD = SECRETS
LIMIT = 1 << 20


@pytest.fixture(scope="module", params=LANGUAGES)
def command(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("receiver")
    return command_of(request.param, EXAMPLES / f"receiver.{request.param}", folder)


@pytest.fixture
def receiver(command, tmp_path):
    with Receiver(command, tmp_path) as receiver:
        yield receiver


def now(offset_s=0):
    return str(int(time.time()) + offset_s)


def service_for(receiver, path, *settings):
    new, old = receiver.secret_files
    return open_service(
        "embedded",
        path,
        f"publish.url={receiver.url}",
        f"publish.totals_url={receiver.totals_url}",
        f'publish.secret_file="{new},{old}"',
        *settings,
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_receiver_is_short_and_needs_only_its_standard_library(language):
    text = (EXAMPLES / f"receiver.{language}").read_text()
    assert len(text.splitlines()) < 60
    if language == "py":
        names = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
        found = {one.module for one in names if isinstance(one, ast.ImportFrom)}
        found |= {alias.name for one in names if isinstance(one, ast.Import) for alias in one.names}
        assert {name.split(".")[0] for name in found} <= sys.stdlib_module_names
    elif language == "js":
        found = re.findall(r'(?:require\(|from )["\'](.*?)["\']', text)
        assert [name for name in found if not name.startswith("node:")] == []
    else:
        found = [
            name for line in re.findall(r"^import \((.*)\)$", text, re.MULTILINE) for name in line.split("; ")
        ]
        assert [name for name in found if "." in name] == []  # others have the name of a host in their path
    assert len(found) >= 4


# With the service


def test_it_has_every_play_though_it_is_killed_again_and_again(receiver, tmp_path):
    settings = ['publish.signature="timestamp"', "dispatch.deadline_s=1", "publish.retry_after_max_s=1"]
    with service_for(receiver, tmp_path, *settings) as service:
        service.start()
        load = Load(service, tmp_path, "--plays", "1000000", "--videos", "60", "--rate", "2000")
        for _ in range(5):
            before = sum(receiver.totals().values())
            wait_until(
                lambda least=before: sum(receiver.totals().values()) > least, "more plays", 3 * PATIENCE_S
            )
            had = receiver.totals()
            receiver.kill()
            receiver.start()
            has = receiver.totals()
            assert {
                video: has.get(video, 0) for video, plays in had.items() if has.get(video, 0) < plays
            } == {}
        produced = load.stop()
        wait_caught_up(service, produced["plays"])
        assert receiver.totals() == produced["totals"] == ledger_totals(service)
        assert service.stop() == 0


def test_a_receiver_that_lost_its_file_has_every_total_again(receiver, tmp_path):
    with service_for(receiver, tmp_path) as service:
        for number in (1, 2):
            service.start()
            service.queue.put("plays", *[b'{"video_id": "%b"}' % video.encode() for video in VIDEOS])
            wait_caught_up(service, len(VIDEOS) * number)
            assert receiver.totals() == dict.fromkeys(VIDEOS, number) == ledger_totals(service)
            assert service.stop() == 0
            assert "can't be asked" not in service.log()
            receiver.kill()
            for file in receiver.folder.glob("totals*"):
                file.unlink()
            receiver.start()
            assert receiver.totals() == {}
        service.start()
        wait_until(lambda: receiver.totals() == dict.fromkeys(VIDEOS, 2), "all totals to be told again")


# What it takes


def test_it_takes_what_one_of_its_secrets_has_signed_a_moment_ago_and_nothing_else(receiver):
    body, other = publish_of("key", {VIDEOS[0]: 7}), publish_of("key", {VIDEOS[0]: 8})
    refused = [
        {},
        signed(body),
        signed(body, b"another secret"),
        signed(body, b""),
        signed(other, NEW),
        signed(other, NEW, stamp=now()),
        signed(body, NEW, stamp=now(-3600)),
        signed(body, NEW, stamp=now(3600)),
        signed(body, NEW, stamp="soon"),
        signed(body, NEW, stamp=hex(int(now()))),
        {**signed(body, NEW, stamp=now(-3600)), "X-Playtally-Timestamp": now()},
        {"X-Playtally-Signature": signed(body, NEW, stamp=now())["X-Playtally-Signature"]},
        {"X-Playtally-Signature": "sha256=" + "\xe9" * 64},
        {"X-Playtally-Signature": "sha256="},
    ]
    assert [receiver.send(body, headers) for headers in refused[:8]] == [401] * 8
    assert {receiver.send(body, headers) for headers in refused[8:]} <= {400, 401}
    assert receiver.totals() == {}
    taken = [
        signed(publish_of(str(number), {VIDEOS[number]: 1}), *secrets, stamp=stamp)
        for number, (secrets, stamp) in enumerate(
            [
                ([NEW], None),
                ([OLD], None),
                ([b"another", OLD], None),
                ([NEW, b"another"], now(-100)),
                ([OLD], now(100)),
            ]
        )
    ]
    for number, headers in enumerate(taken):
        assert receiver.send(publish_of(str(number), {VIDEOS[number]: 1}), headers) == 200
    assert receiver.totals() == dict.fromkeys(VIDEOS[: len(taken)], 1)


def test_a_key_is_taken_once_and_the_greatest_total_wins_also_after_a_kill(receiver):
    first, second = VIDEOS[:2]
    for batch, totals in (("a", {first: 7, second: 1}), ("b", {first: 9}), ("c", {first: 8, second: 2})):
        assert receiver.take(batch, totals) == 200
    for _ in range(2):
        assert receiver.totals() == {first: 9, second: 2}
        assert receiver.take("a", {first: 7, second: 1}) == 200  # its answer was lost: it comes again
        assert receiver.take("b", {first: 100}) == 200  # what came under this key is there already
        receiver.kill()
        receiver.start()
    assert receiver.totals() == {first: 9, second: 2}


def test_only_the_newest_keys_are_kept(request, command, tmp_path):
    language = request.node.callspec.params["command"]
    text = (EXAMPLES / f"receiver.{language}").read_text()
    assert text.count("10000") == 1
    file = tmp_path / f"receiver.{language}"
    file.write_text(text.replace("10000", "10"))
    with Receiver(command_of(language, file, tmp_path), tmp_path) as receiver:
        assert receiver.take("first", {VIDEOS[0]: 1}) == 200
        for number in range(1, 12):
            assert receiver.take(f"key {number}", {VIDEOS[1]: number}) == 200
        assert receiver.take("first", {VIDEOS[0]: 3, VIDEOS[1]: 2}) == 200
        assert receiver.totals() == {VIDEOS[0]: 3, VIDEOS[1]: 11}


def test_a_packed_body_is_unpacked_up_to_a_limit_after_its_signature_is_checked(receiver):
    body = gzip.compress(publish_of("key", {VIDEOS[0]: 7}))
    packed = {"Content-Encoding": "gzip"}
    assert receiver.send(body, packed | signed(body, b"another secret")) == 401
    assert receiver.send(body, packed | signed(body, NEW)) == 200
    bomb = gzip.compress(publish_of("x" * 50 * LIMIT, {VIDEOS[0]: 9}))
    assert len(bomb) < LIMIT
    for wrong in (bomb, body[: len(body) // 2], body[:-4], body + b"more", b"no gzip", b""):
        assert receiver.send(wrong, packed | signed(wrong, NEW)) == 400
    assert receiver.totals() == {VIDEOS[0]: 7}


def with_videos(*videos):
    return json.dumps({"batch": "k", "videos": videos}).encode()


GOOD, DEEP = {"video_id": VIDEOS[0], "plays": 9}, 200_000
BAD_BODIES = {
    "nothing": b"",
    "half a body": b"{",
    "a number": b"5",
    "null": b"null",
    "a list": b"[]",
    "an empty object": b"{}",
    "something behind it": with_videos(GOOD) + b"}",
    "not UTF-8": b"\xff\xfe",
    "UTF-16": with_videos(GOOD).decode().encode("utf-16"),
    "a mark of UTF-8": b"\xef\xbb\xbf" + with_videos(GOOD),
    "a text that is not UTF-8": with_videos(GOOD)[:-1] + b', "x": "\xff"}',
    "deep": b"[" * DEEP + b"]" * DEEP,
    "deep beside what is right": with_videos(GOOD)[:-1] + b', "x": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"batch": ' * 50_000 + b"1" + b"}" * 50_000,
    "no batch": json.dumps({"videos": [GOOD]}).encode(),
    "no batch and no video": b'{"videos": []}',
    "batch is null": publish_of(None, {VIDEOS[0]: 9}),
    "batch is empty": publish_of("", {VIDEOS[0]: 9}),
    "batch is a number": publish_of(5, {VIDEOS[0]: 9}),
    "batch is a list": publish_of(["k"], {VIDEOS[0]: 9}),
    "batch is half a character": publish_of("\ud800", {VIDEOS[0]: 9}),
    "no videos": b'{"batch": "k"}',
    "videos is null": b'{"batch": "k", "videos": null}',
    "videos is a number": b'{"batch": "k", "videos": 5}',
    "videos is an object": b'{"batch": "k", "videos": {"video_id": "a", "plays": 1}}',
    "videos is an empty object": b'{"batch": "k", "videos": {}}',
    "videos is an empty text": b'{"batch": "k", "videos": ""}',
    "a video is a number": with_videos(5),
    "a video is null": with_videos(GOOD, None),
    "a video is a list": with_videos([VIDEOS[0], 9]),
    "no video_id": with_videos({"plays": 9}),
    "no video_id in the second": with_videos(GOOD, {"plays": 9}),
    "video_id is null": with_videos({"video_id": None, "plays": 9}),
    "video_id is empty": with_videos({"video_id": "", "plays": 9}),
    "video_id is a number": with_videos({"video_id": 7, "plays": 9}),
    "video_id is a list": with_videos({"video_id": [VIDEOS[0]], "plays": 9}),
    "video_id is half a character": with_videos({"video_id": "\ud800", "plays": 9}),
    "no plays": with_videos({"video_id": VIDEOS[0]}),
    "plays is null": with_videos({"video_id": VIDEOS[0], "plays": None}),
    "plays is true": with_videos({"video_id": VIDEOS[0], "plays": True}),
    "plays is a text": with_videos({"video_id": VIDEOS[0], "plays": "9"}),
    "plays is no whole number": with_videos({"video_id": VIDEOS[0], "plays": 1.5}),
    "plays is NaN": with_videos({"video_id": VIDEOS[0], "plays": float("nan")}),
    "plays is 0": with_videos({"video_id": VIDEOS[0], "plays": 0}),
    "plays is negative": with_videos({"video_id": VIDEOS[0], "plays": -1}),
    "plays is too great": with_videos({"video_id": VIDEOS[0], "plays": 2**53}),
    "plays is far too great": with_videos({"video_id": VIDEOS[0], "plays": 2**70}),
    "plays is endless": with_videos({"video_id": VIDEOS[0], "plays": 0})[:-3] + b"9" * 10_000 + b"}]}",
}


def test_a_body_that_is_no_publish_is_refused_in_words_and_changes_nothing(receiver):
    answers = {what: receiver.ask(body, signed(body, NEW)) for what, body in BAD_BODIES.items()}
    assert {what: answer for what, answer in answers.items() if answer[0] != 400} == {}
    assert [what for what, (_, text) in answers.items() if "expected JSON: batch, videos" not in text] == []
    assert receiver.totals() == {}
    assert receiver.take("k", {VIDEOS[0]: 1}) == 200
    receiver.kill()
    receiver.start()
    assert receiver.totals() == {VIDEOS[0]: 1}


def test_a_body_that_is_too_long_is_not_read(receiver):
    host, port = receiver.address.split(":")
    for length in (LIMIT + 1, 10**12):
        with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
            connection.sendall(b"POST /plays HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length)
            assert connection.makefile("rb").readline().split()[1] == b"413"
    assert receiver.take("k", {VIDEOS[0]: 1}) == 200


def test_other_paths_take_nothing(receiver):
    body = publish_of("k", {VIDEOS[0]: 1})
    assert receiver.send(body, signed(body, NEW), "/other") in (401, 404, 405)
    assert receiver.totals() == {}


def test_many_at_once_are_all_there_after_a_kill(receiver):
    def take(number):
        totals = {VIDEOS[0]: number, VIDEOS[number % 40]: number}
        return receiver.take(f"batch {number}", totals)

    numbers = range(1, 301)
    with ThreadPoolExecutor(64) as pool:
        assert set(pool.map(take, numbers)) == {200}
    receiver.kill()
    receiver.start()
    expected = {VIDEOS[place]: max(one for one in numbers if one % 40 == place) for place in range(1, 40)}
    assert receiver.totals() == {VIDEOS[0]: 300, **expected}


def test_what_it_can_not_store_it_does_not_take(command, tmp_path):
    limited = ["sh", "-c", 'ulimit -f 128 && exec "$0" "$@"', *command]
    with Receiver(limited, tmp_path) as receiver:
        taken = {}
        for number in range(5000):
            totals = {f"00000000-0000-4000-8000-{number * 20 + one:012d}": number + 1 for one in range(20)}
            status = receiver.take(f"batch {number}", totals)
            if status != 200:
                break
            taken |= totals
        assert status == 503
        assert receiver.take(f"batch {number}", totals) == 503  # it does not believe that it has it
        assert receiver.totals() == taken
    with Receiver(command, tmp_path) as receiver:
        assert {video: receiver.totals().get(video) for video in taken} == taken
        assert receiver.take(f"batch {number}", totals) == 200
        assert receiver.totals() == taken | totals
