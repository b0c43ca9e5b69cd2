"""The client is asked for its totals where it can be asked; whatever it answers, the service goes on."""

import contextlib
import http.server
import json
import logging
import re
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from actors.config import Settings
from actors.config.sections import ClientSection, PublishSection
from actors.core import guids
from actors.core.columns import unpack_numbers, unpack_videos
from actors.core.total_columns import RECORDS, TOTAL_MAX, NoTotals, TotalColumns, records_of
from actors.sinks import client_totals
from actors.sinks.client_totals import asked_totals, totals_of, totals_url_of
from tests.support.certificates import make_certificate
from tests.support.patience import PATIENCE_S

ITS_AUTHORIZATION = "what the request had as Authorization"
JSON = "application/json"
VIDEO = "00000000-0000-4000-8000-000000000001"


def ask_totals(settings):
    """The totals that the client has; None if it can't be asked, or did not answer, which is logged."""
    try:
        return totals_of(settings)
    except NoTotals as error:
        logging.getLogger(__name__).warning("%s", error)
        return None


@contextlib.contextmanager
def client_process(path):
    """The address of a reference client, in a process of its own."""
    command = [sys.executable, "-m", "actors.client", "--address", "127.0.0.1:0", "--data-path", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield next(
                found[1] for line in process.stderr if (found := re.search(r"ready at http://(.+?)/", line))
            )
        finally:
            process.kill()


def settings(client=True, **publish):
    return Settings(publish=PublishSection(**publish), client=ClientSection(enabled=client))


@contextlib.contextmanager
def answering(body, code=200, tls=None, reason=None, **headers):
    """The URL of a server that gives this answer. `headers`: its own, by name. `reason`: of the status.

    `tls`: the files of its certificate and of the key.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            told = self.headers["Authorization"] if reason == ITS_AUTHORIZATION else reason
            self.send_response(code, told)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/totals"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("changed", "url"),
    [
        ({}, "http://127.0.0.1:8080/totals"),
        ({"url": "http://localhost:8080/plays"}, "http://127.0.0.1:8080/totals"),
        ({"client": False}, ""),
        ({"url": "http://elsewhere/plays"}, ""),
        ({"url": "http://elsewhere/plays", "totals_url": "http://elsewhere/all"}, "http://elsewhere/all"),
        ({"url": "", "nsq_topic": "totals"}, ""),
        ({"url": "", "nsq_topic": "totals", "totals_url": "http://reader/all"}, "http://reader/all"),
        ({"url": ""}, ""),
    ],
)
def test_the_reference_client_is_asked_if_it_gets_the_publishes_and_another_at_its_url(changed, url):
    assert totals_url_of(settings(**changed)) == url


def test_a_client_that_can_not_be_asked_has_no_totals():
    assert ask_totals(settings(url="")) is None


def test_its_totals_are_those_that_it_answers():
    with answering(json.dumps({VIDEO: 7}).encode()) as url:
        assert ask_totals(settings(totals_url=url)) == TotalColumns.of({guids.parse(VIDEO): 7})


def test_totals_that_are_read_in_parts_are_those_that_it_answers(monkeypatch):
    told = {guids.text(bytes([number]) * 16): number for number in range(200)} | {VIDEO.upper(): 1 << 70}
    for part_bytes, separators in ((1, (",", ":")), (100, (" ,\n", " : ")), (1 << 20, (",", ":"))):
        monkeypatch.setattr(client_totals, "PART_BYTES", part_bytes)
        with answering(b" " + json.dumps(told, separators=separators).encode() + b"\n") as url:
            found = ask_totals(settings(totals_url=url))
        by_video = dict(zip(unpack_videos(found.videos), unpack_numbers(found.totals), strict=True))
        assert by_video == {guids.parse(text): min(total, TOTAL_MAX) for text, total in told.items()}


@pytest.mark.parametrize(
    "body", ['{"a,b": 1}', '{"%s": 1, "a,b": 2}', '{"%s": {"x": 1, "y": 2}}', '"%s": 1}']
)
def test_no_part_makes_totals_of_what_is_none_as_a_whole(monkeypatch, caplog, body):
    monkeypatch.setattr(client_totals, "PART_BYTES", 1)
    with answering(body.replace("%s", VIDEO).encode()) as url:
        assert ask_totals(settings(totals_url=url)) is None
    assert "the client can't be asked for its totals" in caplog.text


def test_the_reference_client_answers_with_records(tmp_path):
    told = {bytes([number]) * 16: number for number in range(1, 200)}
    publish = [
        {"video_id": guids.text(one), "plays": plays, "arrived_at_ns": 1} for one, plays in told.items()
    ]
    with client_process(tmp_path) as address:
        for start in range(0, len(publish), 20):
            body = {"batch": f"{start}", "trigger": "deadline", "videos": publish[start : start + 20]}
            content = json.dumps(body).encode()
            request = urllib.request.Request(f"http://{address}/plays", content, {"Content-Type": JSON})
            urllib.request.urlopen(request, timeout=PATIENCE_S).close()
        own = Settings(
            publish=PublishSection(url=f"http://{address}/plays"), client=ClientSection(address=address)
        )
        found = ask_totals(own)
        factors = bytes(range(24))
        summed = asked_totals(own).begin_sum(factors)()
        for bad in ("", "0f", "0" * 47 + "g", "%20" + "0" * 47):
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(f"http://{address}/totals?sum={bad}", timeout=PATIENCE_S)
        with urllib.request.urlopen(f"http://{address}/totals", timeout=PATIENCE_S) as answer:
            assert json.load(answer) == {guids.text(one): plays for one, plays in told.items()}
            assert answer.headers["Content-Type"] == JSON
    assert dict(zip(unpack_videos(found.videos), unpack_numbers(found.totals), strict=True)) == told
    assert summed == TotalColumns.of(told).begin_sum(factors)() > 0


def test_an_earlier_client_that_knows_no_sum_sends_all_at_once(monkeypatch):
    """It leaves out the word in the query that it does not know."""
    records = TotalColumns.of({guids.parse(VIDEO): 7})
    with answering(records_of(records.words, records.numbers), **{"Content-Type": RECORDS}) as url:
        address = url.removeprefix("http://").removesuffix("/totals")
        own = Settings(
            publish=PublishSection(url=f"http://{address}/plays"), client=ClientSection(address=address)
        )
        asked = asked_totals(own)
        assert asked.begin_sum(bytes(24))() is None
    assert asked.all() == records  # it is not asked again: it has gone


@pytest.mark.parametrize("body", [b"x" * 23, bytes(16) + b"\xff" * 8])
def test_damaged_records_are_said(caplog, body):
    with answering(body, **{"Content-Type": RECORDS}) as url:
        assert ask_totals(settings(totals_url=url)) is None
    assert "the client can't be asked for its totals" in caplog.text


@pytest.mark.parametrize(
    ("body", "code", "why"),
    [
        (b"{}", 404, "HTTP 404 Not Found"),
        (b"<html>", 200, "JSON is malformed"),
        (b"\xff\xfe\xfd", 200, ""),
        (b"[]", 200, "Expected `object`, got `array`"),
        (json.dumps({VIDEO: 1.5}).encode(), 200, "Expected `int`, got `float`"),
        (json.dumps({VIDEO: True}).encode(), 200, "Expected `int`, got `bool`"),
        (json.dumps({VIDEO: -1}).encode(), 200, "Expected `int` >= 0"),
        (b'{"no guid": 1}', 200, "not a GUID"),
        (b"{" + b" " * 200 + b"}", 200, "more than 99 bytes"),
        (b"[" * 90, 200, ""),
    ],
)
def test_an_answer_that_is_none_is_said_and_the_service_goes_on(monkeypatch, caplog, body, code, why):
    monkeypatch.setattr(client_totals, "TOTALS_BYTES_MAX", 99)
    with answering(body, code) as url, caplog.at_level(logging.WARNING):
        assert ask_totals(settings(totals_url=url)) is None
    (record,) = caplog.records
    assert f"{url}: the client can't be asked for its totals (" in record.message
    assert why in record.message


@pytest.mark.parametrize("trusted", [True, False])
def test_over_https_its_certificate_has_to_be_of_a_trusted_authority(tmp_path, caplog, trusted):
    key, certificate = make_certificate(tmp_path)
    with answering(json.dumps({VIDEO: 7}).encode(), tls=(certificate, key)) as url:
        found = ask_totals(settings(totals_url=url, ca_file=str(certificate) if trusted else ""))
    assert (found is not None) == trusted
    assert ("certificate" in caplog.text) != trusted


def test_it_is_asked_through_the_proxy_that_is_set():
    with answering(json.dumps({VIDEO: 7}).encode()) as proxy:  # a proxy is asked for the whole URL
        found = ask_totals(settings(totals_url="http://a.example/all", proxy=proxy.removesuffix("/totals")))
    assert found == TotalColumns.of({guids.parse(VIDEO): 7})


@pytest.mark.parametrize(
    ("reason", "told"),
    [(ITS_AUTHORIZATION, "HTTP 403 Basic …"), ("not with pass-word", "HTTP 403 not with …")],
)
def test_a_user_in_its_url_is_sent_as_basic_authorization_and_what_the_answer_quotes_is_not_in_the_log(
    caplog, reason, told
):
    with answering(b"", 403, reason=reason) as url:
        assert ask_totals(settings(totals_url=url.replace("//", "//me:pass-word@"))) is None
    assert told in caplog.text
    assert "pass-word" not in caplog.text


def test_a_client_that_is_away_is_said(caplog):
    with answering(b"{}") as url:
        pass
    assert ask_totals(settings(totals_url=url)) is None
    assert "nobody listens there" in caplog.text


@pytest.mark.parametrize("url", ["http://a:port/totals", "http://[a/totals"])
def test_a_url_that_cannot_be_is_said(caplog, url):
    assert ask_totals(settings(totals_url=url)) is None
    assert "the client can't be asked" in caplog.text


def test_no_redirect_is_followed(caplog):
    with (
        answering(json.dumps({VIDEO: 7}).encode()) as elsewhere,
        answering(b"", 302, Location=elsewhere) as url,
    ):
        assert ask_totals(settings(totals_url=url)) is None
    assert (
        f"(HTTP 302 Found to {elsewhere}; redirects are not followed: set publish.totals_url to"
        in caplog.text
    )


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "]
)
def test_an_answer_that_never_ends_is_waited_for_a_while(monkeypatch, caplog, head):
    monkeypatch.setattr(client_totals, "ANSWER_TIMEOUT_S", 1.0)
    over = threading.Event()

    def drip(listener):
        connection = listener.accept()[0]
        with connection, contextlib.suppress(OSError):
            connection.sendall(head)
            while not over.wait(0.1):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/totals"
            assert ask_totals(settings(totals_url=url)) is None
        finally:
            over.set()
            thread.join()
    assert "(its totals were not there and read within 1 s)" in caplog.text


def test_totals_that_take_long_to_read_do_not_hold_up_the_start(monkeypatch, caplog):
    monkeypatch.setattr(client_totals, "ANSWER_TIMEOUT_S", 0.1)
    many = json.dumps({f"00000000-0000-4000-8000-{number:012d}": 1 for number in range(500_000)}).encode()
    monkeypatch.setattr(client_totals, "_asked", lambda *_: client_totals._parsed(many))
    assert ask_totals(settings(totals_url="http://a.example/totals")) is None
    assert "(its totals were not there and read within 0.1 s)" in caplog.text


@pytest.mark.parametrize("reason", ["x" * 3000, "\x1b[31mred"])
def test_the_reason_of_a_refusal_is_fit_for_a_log(caplog, reason):
    with answering(b"", 500, reason=reason) as url:
        assert ask_totals(settings(totals_url=url)) is None
    (record,) = caplog.records
    assert len(record.message) < 600
    assert record.message.isprintable()
