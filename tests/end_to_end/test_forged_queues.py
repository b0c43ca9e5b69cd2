"""Hostile text in what nsqlookupds, nsqds, auth servers, proxies and certificates say: it forges no line."""

import contextlib
import json
import ssl
import subprocess
import sys

import pytest

from actors.system.installation import ROOT, environment
from tests.end_to_end.test_forged_log import assert_screens
from tests.support.certificates import Authority
from tests.support.hostile_nsqd import HostileNsqd, at_once, frame, message, once_subscribed
from tests.support.hostile_servers import answer, raw_http
from tests.support.hostile_text import HEADER, HOSTILE, assert_log, assert_plain
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.queues import RawClient, open_queue
from tests.support.secured_service import secured_service
from tests.support.services import open_service, wait_status

RAW, LINE = HOSTILE.encode(), HEADER.encode()
VIDEO = "00000000-0000-4000-8000-000000000001"
PLAY = f'{{"video_id": "{VIDEO}"}}'.encode()
DEAF = ["client.enabled=false", "publish.url="]


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def producer(host: str, **more: object) -> dict[str, object]:
    """An nsqd as an nsqlookupd tells of it."""
    told: dict[str, object] = dict.fromkeys(("hostname", "version", "remote_address"), HOSTILE)
    told["broadcast_address"] = host
    return {
        **told,
        "tcp_port": 1,
        "http_port": 1,
        "topics": [HOSTILE, "plays"],
        "tombstones": [True, False],
        **more,
    }


def nodes(*told: object) -> bytes:
    return answer("200 OK", as_json({"producers": told, "version": HOSTILE}))


LOOKUPS = [
    nodes(producer(HOSTILE), producer(f"x{HEADER}")),
    nodes(producer("127.0.0.1", tombstones=[False, True])),
    nodes(producer("127.0.0.1", tcp_port=HOSTILE)),
    nodes(HOSTILE),
    answer("200 OK", as_json({"status_code": 200, "status_txt": HOSTILE, "data": {HOSTILE: HOSTILE}})),
    answer(f"404 {HEADER}", as_json({"message": HOSTILE})),
    answer("404 x", HOSTILE),
    answer(f"500 {HEADER}", as_json({"message": HOSTILE}), f"X: {HEADER}"),
    answer("302 x", b"", f"Location: http://{HEADER}/"),
    answer("200 OK", HOSTILE, f"Content-Type: {HEADER}"),
    answer(HEADER, HOSTILE),
    RAW,
]


def test_an_nsqlookupds_answer_forges_no_line(tmp_path):
    with contextlib.ExitStack() as stack:
        lookupds = [stack.enter_context(raw_http(one)) for one in LOOKUPS]
        lookupds.append(stack.enter_context(raw_http(*LOOKUPS)))
        setting = f"nsq.lookupd_http_addresses={json.dumps([one.address for one in lookupds])}"
        service = stack.enter_context(open_service("embedded", tmp_path, *DEAF, setting))
        service.start()
        wait_until(lambda: all(one.asked for one in lookupds), "all nsqlookupds to be asked")
        assert_screens(service)
    assert_log(service.log())


TEXTS = dict.fromkeys(("version", "hostname", "start_time", HOSTILE), HOSTILE)
AGREED = {"max_rdy_count": 2500, "msg_timeout": 1000, **TEXTS}
SCRIPTS = [
    at_once(RAW),
    at_once(answer(f"400 {HEADER}", HOSTILE)),
    at_once(frame(1, b"E_BAD_BODY " + RAW)),
    at_once(frame(1, b"E_INVALID AUTH " + RAW)),
    at_once(frame(1, b"E_AUTH_FAILED " + RAW)),
    at_once(frame(0, RAW)),
    at_once(frame(0, as_json(HOSTILE))),
    at_once(frame(0, as_json({"max_rdy_count": HOSTILE}))),
    at_once(frame(7, RAW)),
    once_subscribed(frame(0, RAW), as_json(AGREED)),
    once_subscribed(frame(1, b"E_FIN_FAILED " + RAW) + frame(1, RAW), as_json(AGREED)),
    once_subscribed(message(b"0" * 16, RAW) + message(LINE[:16], PLAY), as_json(AGREED)),
]
HTTP = [
    answer("200 OK", as_json({**TEXTS, "tcp_port": HOSTILE})),
    answer("200 OK", as_json({"topics": [{"topic_name": HOSTILE, "channels": HOSTILE}], "health": HOSTILE})),
    answer(f"500 {HEADER}", HOSTILE, f"Date: {HEADER}"),
    answer("200 OK", HOSTILE),
]


def test_an_nsqds_words_forge_no_line(tmp_path):
    with contextlib.ExitStack() as stack:
        nsqds = [stack.enter_context(HostileNsqd("127.0.0.1:1", [one] * 500)) for one in SCRIPTS]
        http = [stack.enter_context(raw_http(*HTTP[n % len(HTTP) :], *HTTP)) for n in range(len(nsqds))]
        settings = [
            f"nsq.nsqd_tcp_addresses={json.dumps([one.address for one in nsqds])}",
            f"nsq.nsqd_http_addresses={json.dumps([one.address for one in http])}",
            "publish.nsq_topic=told",
        ]
        service = stack.enter_context(open_service("embedded", tmp_path, *DEAF, *settings))
        service.start()
        wait_until(lambda: all(one.taken > 1 for one in nsqds), "all nsqds to be asked")
        wait_until(lambda: all(one.asked for one in http), "all HTTP addresses to be asked", PATIENCE_S)
        assert_screens(service)
        assert_plain(produced(service))
    assert_log(service.log())


def produced(service) -> bytes:
    """What a producer says that gives up on the service's queue."""
    words = [sys.executable, "-m", "producer", *service.arguments, "--plays", "1"]
    process = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=-1, stderr=subprocess.STDOUT)
    first = process.stdout.readline() + process.stdout.readline()
    process.terminate()
    return first + process.communicate(timeout=PATIENCE_S)[0]


def test_what_an_auth_server_says_through_a_real_nsqd_forges_no_line(tmp_path):
    with secured_service(tmp_path, tls=False) as secured:
        may = {"topic": HOSTILE, "channels": [HOSTILE], "permissions": [HOSTILE]}
        told = {"ttl": 60, "identity": HOSTILE, "identity_url": HOSTILE, "authorizations": [may]}
        secured.auth.answer = lambda secret: told  # type: ignore[method-assign]
        service = secured.service
        service.start()
        wait_until(lambda: secured.auth.asked, "the auth server to be asked")
        assert_screens(service)
    assert_log(service.log(), seen="")


def certificate(folder, names: str) -> ssl.SSLContext:
    """TLS with a certificate whose names are hostile, of an authority that nobody trusts."""
    key, own, config = (folder / name for name in ("key.pem", "own.pem", "req.cnf"))
    subject = HEADER.replace("\0", "").replace("\\", "")
    config.write_text(
        "[req]\ndistinguished_name=dn\nprompt=no\nutf8=yes\nstring_mask=utf8only\nx509_extensions=x\n"
        f"[dn]\nCN={subject[:50]}\nO={subject[-50:]}\n[x]\nsubjectAltName={names}\n"
    )
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-utf8"]
    subprocess.run([*words, "-config", config, "-keyout", key, "-out", own], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, key)
    return context


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificates_names_forge_no_line(tmp_path, trusted):
    Authority(tmp_path)  # skips without openssl
    tls = certificate(tmp_path, "DNS:x\x1b]0;X\x07.example")
    with raw_http(answer("200 OK"), tls=tls) as client:
        settings = ["client.enabled=false", f"publish.url=https://{client.address}/"]
        settings += [f"publish.ca_file={tmp_path}/own.pem"] if trusted else []
        assert_a_failed_publish_forges_nothing(tmp_path, settings)


def assert_a_failed_publish_forges_nothing(path, settings):
    with open_service("embedded", path, *settings) as service:
        service.start()
        service.queue.put("plays", PLAY)
        wait_status(service, lambda status: status["publishes"]["failed"], "a publish to fail")
        assert_screens(service)
    assert_log(service.log(), seen="")


REFUSED = answer(f"407 {HEADER}", HOSTILE, f"X: {HEADER}")


@pytest.mark.parametrize(("scheme", "said"), [("http", REFUSED), ("https", REFUSED), ("https", RAW)])
def test_a_proxys_answer_forges_no_line(tmp_path, scheme, said):
    with raw_http(said) as proxy:
        settings = ["client.enabled=false", f"publish.url={scheme}://plays.example/"]
        settings.append(f"publish.proxy=http://{proxy.address}")
        assert_a_failed_publish_forges_nothing(tmp_path, settings)


def test_a_client_that_names_itself_forges_no_line_of_the_queues_statistics(tmp_path):
    with open_queue("embedded", tmp_path) as queue, RawClient(queue.tcp_address) as client:
        client.identify(client_id=HOSTILE, hostname=HOSTILE, user_agent=HOSTILE)
        client.subscribe("plays", "playtally")
        assert_plain(queue.http("GET", "/stats?format=text")[1].replace(b"\t", b" "))
