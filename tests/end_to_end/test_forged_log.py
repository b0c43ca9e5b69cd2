"""Hostile text through all that a running service hears: it forges no line of the log or the screen."""

import contextlib
import json

import pytest

from tests.support.hostile_servers import answer, raw_http, send, told
from tests.support.hostile_text import HEADER, HOSTILE, assert_log, assert_plain
from tests.support.patience import wait_until
from tests.support.queues import sized
from tests.support.services import action_headers, open_service, wait_status

VIDEO = "00000000-0000-4000-8000-000000000001"
PLAY = f'{{"video_id": "{VIDEO}"}}'.encode()
RAW = HOSTILE.encode()
LINE = HEADER.encode()
WORDS = dict.fromkeys(("client_id", "hostname", "user_agent", "short_id", "long_id"), HOSTILE)
DEAF = ["client.enabled=false", "publish.url="]
SCREENS = (["status"], ["status", "--json"], ["check"], ["check", "--json"], ["config"])


def assert_screens(service, screens=(["status"], ["check"])) -> str:
    """No command about the service shows anything raw. Returns all that they showed."""
    shown = ""
    for words in screens:
        ran = service.command(*words)
        assert "Traceback" not in ran.stderr, ran.stderr
        assert_plain(ran.stdout + ran.stderr, seen="")
        if "--json" in words:
            assert ran.stdout.isascii()
            json.loads(ran.stdout)
        shown += ran.stdout + ran.stderr
    return shown


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def bodies():
    yield from (RAW, HOSTILE.encode("utf-16"), as_json({"video_id": HOSTILE}), b"\xff" + RAW)
    yield from (as_json({HOSTILE: 1}), as_json([HOSTILE]), as_json(HOSTILE), b'{"%b": {}}' % LINE)
    yield from (b'{"video_id": "%b"}' % RAW, b'{"video_id": %b}' % RAW)


def requests(service, name):
    """Requests with hostile text in every place. Without a length of its own, one has the right length."""
    secret = [f"{key}: {value}" for key, value in action_headers(service, "republish").items()]
    terminate = [one.replace("republish", "terminate") for one in secret]
    for method, target, *lines in (
        ("GET", f"/{HEADER}"),
        ("GET", "/totals/%1b%0a%e2%80%a8"),
        (HEADER, "/"),
        ("GET", "/", f"Host: {HEADER}"),
        ("GET", "/", f"{HEADER}: x"),
        ("GET", "/", f"X: {HEADER}"),
        ("GET", "/", HEADER),
        ("GET", f"http://{HEADER}/"),
        ("POST", "/plays", f"Content-Type: {HEADER}", f"Origin: {HEADER}"),
        ("POST", "/plays", f"Content-Type: {HEADER}", f"Idempotency-Key: {HEADER}"),
        ("POST", "/plays", "Content-Type: application/json", f"Content-Encoding: {HEADER}"),
        ("POST", "/plays", "Content-Type: application/json", "Content-Encoding: gzip"),
        ("POST", "/plays", "Content-Type: application/json"),
        ("POST", "/republish", *secret),
        ("POST", "/republish", f"X-Playtally-Action: {HEADER}", f"Authorization: Bearer {HEADER}"),
        ("POST", "/children/%1b%5d0;X%0a/terminate", *terminate),
        ("POST", f"/pub?topic={HEADER}"),
        ("POST", "/pub?topic=%1b%0a"),
        ("POST", "/topic/create?topic=%e2%80%a8&x=%0d"),
        ("POST", "/channel/create?topic=plays&channel=%9b"),
        ("POST", f"/{HEADER}", f"Transfer-Encoding: {HEADER}"),
        ("POST", "/mpub?topic=plays", f"Content-Length: {HEADER}"),
    ):
        own = [f"Host: {service.address(name)}", f"Content-Length: {len(RAW)}"]
        if any(one.startswith(("Host:", "Content-Length", "Transfer")) for one in lines):
            own = []
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *own, *lines, "Connection: close", "", ""])
        yield head.encode() + RAW
    yield from (RAW, LINE + b"\r\n\r\n", b"\x16\x03\x01" + RAW)


def greetings():
    """What a client of NSQ's protocol may begin with."""
    yield from (RAW, b"  V2" + RAW, b"  V2" + LINE + b"\n", b"  V1" + RAW)
    for command in (b"PUB %b", b"SUB %b x", b"SUB plays %b", b"%b", b"FIN %b", b"RDY %b", b"AUTH\n%b"):
        yield b"  V2" + command % LINE + b"\n" + sized(RAW)
    wrong = {"msg_timeout": HOSTILE, "output_buffer_size": HOSTILE}
    for identity in (RAW, *map(as_json, (WORDS, wrong, {HOSTILE: 1}))):
        yield b"  V2IDENTIFY\n" + sized(identity)


def test_messages_requests_and_commands_forge_no_line(tmp_path):
    with open_service("embedded", tmp_path, 'embedded_nsqd.http_address="127.0.0.1:0"') as service:
        service.start()
        sent = list(bodies())
        service.queue.put("plays", *sent, PLAY)
        wait_status(service, lambda status: status["plays"]["dead_lettered"] >= len(sent), "the dead letters")
        for name in ("client_address", "admin_address", "nsqd_http_address"):
            for request in requests(service, name):
                said = told(service.address(name), request)
                head, _, body = said.partition(b"\r\n\r\n")
                assert_plain(head.decode("latin-1").replace("\r\n", "\n"), seen="")
                assert not body or b"application/json" not in head or json.loads(body)
        with contextlib.ExitStack() as stack:
            for greeting in greetings():
                stack.enter_context(send(service.queue.address(), greeting))
            reader = b"  V2IDENTIFY\n" + sized(as_json(WORDS)) + b"SUB plays playtally\n"
            stack.enter_context(send(service.queue.address(), reader))
            wait_status(service, lambda status: status["nsq"]["others_on_channel"], "the other consumer")
            wait_until(lambda: "onsumer" in service.log().split("all children")[-1], "a line about it")
            shown = assert_screens(service, SCREENS)
            assert "forged" in shown, "the other consumer is named"
    assert_log(service.log())


ODD = [f"{name}: {HEADER}" for name in ("Location", "Retry-After", "Date", "Content-Type", HEADER)]
ANSWERS = {
    "503": answer(f"503 {HEADER}", HOSTILE, *ODD),
    "422": answer(f"422 {HEADER}", HOSTILE, *ODD),
    "302": answer("302 x", HOSTILE, *ODD),
    "429": answer("429 x", HOSTILE, *ODD),
    "200": answer("200 x", f"<html>{HOSTILE}", f"Content-Type: text/html; {HEADER}"),
    "no HTTP": RAW,
    "a length": f"HTTP/1.1 200 x\r\nContent-Length: {HEADER}\r\n\r\n".encode(),
}


def tried(status):
    return status["publishes"]["failed"], status["publishes"]["total"]


@pytest.mark.parametrize("each", ANSWERS)
def test_a_clients_answer_forges_no_line(tmp_path, each):
    with raw_http(ANSWERS[each]) as client:
        settings = ["client.enabled=false", f"publish.url=http://{client.address}/", "publish.stdout=false"]
        settings.append(f"publish.totals_url=http://{client.address}/totals")
        with open_service("embedded", tmp_path, *settings) as service:
            service.start()
            service.queue.put("plays", PLAY)
            wait_status(service, lambda status: any(tried(status)), "a publish")
            assert_screens(service)
            service.stop()
            asked = client.asked
            service.start()  # it has plays now, so it asks for totals
            wait_until(lambda: client.asked > asked, "the client to be asked")
            assert_screens(service)
    assert_log(service.log(), seen="")
