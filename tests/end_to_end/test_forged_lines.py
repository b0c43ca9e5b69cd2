"""Whatever comes from outside with control characters in it: the log and the screen show escapes of them."""

import http.server
import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from actors.cli.launch import COMMAND, environment
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.recording_client import RecordingClient, Reply
from tests.support.services import open_service

NASTY = "\x1b]0;X\x07\r\n12:00:00.000 I forged     a line\n\u2028\u202e\x85\x9b"
EVENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d ")


def assert_plain(text):
    """No character steers a terminal, and no line is the forged one."""
    lines = text.split("\n")
    wrong = [one for one in lines if not one.isprintable() or one.startswith("12:00:00.000 I forged")]
    assert not wrong, wrong


class NastyLookupd(http.server.BaseHTTPRequestHandler):
    """An nsqlookupd that names an nsqd as it should not, and then refuses, with a reason."""

    asked = 0

    def do_GET(self) -> None:
        """Answer a lookup."""
        type(self).asked += 1
        host = NASTY if self.asked % 4 == 1 else "forged.\x1b[31m\u202e"
        producer = {"broadcast_address": host, "hostname": NASTY, "tcp_port": 4150, "http_port": 4151}
        answer = {"channels": [], "producers": [producer]} if self.asked % 2 else {"message": NASTY}
        body = json.dumps(answer).encode()
        self.send_response(200 if self.asked % 2 else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def lookupd():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NastyLookupd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def run(*words):
    return subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, timeout=60)


def said_of(result):
    return result.stdout.decode(), result.stderr.decode()


def test_a_client_and_messages_write_no_line_of_ours(tmp_path):
    def refuse(number, publish):
        body = NASTY.encode()
        head = f"HTTP/1.1 503 no\x80\r\nContent-Length: {len(body)}\r\n\r\n".encode("latin-1")
        return Reply(503, raw=[head, body])

    with RecordingClient(refuse) as client:
        overrides = ["client.enabled=false", f"publish.url={client.url}", "publish.stdout=false"]
        with open_service("embedded", tmp_path, *overrides) as service:
            service.start()
            service.queue.put("plays", NASTY.encode(), json.dumps({"video_id": NASTY}).encode())
            service.queue.put("plays", b'{"video_id": "%s"}' % (b"0" * 8 + b"-0000-0000-0000-" + b"0" * 12))
            host, _, port = service.queue.address().rpartition(":")
            for greeting in (b"  V2\x1b]0;X\x07\n" + NASTY.encode() + b"\n", NASTY.encode() * 9):
                with socket.create_connection((host, int(port))) as connection:
                    connection.sendall(greeting)
            admin, _, port = service.address("admin_address").rpartition(":")
            with socket.create_connection((admin, int(port)), PATIENCE_S) as connection:
                connection.sendall(b"GET /\x1b[31m HTTP/1.1\r\nHost: \x1b]0;X\x07\r\n\r\n")
                connection.recv(1000)
            for what in ("503 no", "bad magic"):
                wait_until(lambda what=what: what in service.log(), what)
            said = said_of(run(*COMMAND, "status", *service.arguments))
        assert_plain(service.log())
        assert_plain("".join(said))
        lines = service.log().splitlines()
        assert all(EVENT.match(one) or one.startswith("  ") for one in lines), service.log()


def test_an_nsqlookupd_writes_no_line_of_ours(tmp_path, lookupd):
    with open_service("embedded", tmp_path, f'nsq.lookupd_http_addresses=["{lookupd}"]') as service:
        service.start()
        wait_until(lambda: NastyLookupd.asked >= 6, "nsqlookupd to be asked")
        checked = said_of(run(*COMMAND, "check", *service.arguments))
    assert_plain(service.log())
    assert "forged" in service.log(), "the test would see it"
    assert_plain("".join(checked))


@pytest.mark.parametrize(
    "words",
    [
        [*COMMAND, f"status{NASTY}"],
        [*COMMAND, "kill", NASTY],
        [*COMMAND, "status", "--config", NASTY],
        [*COMMAND, "config", "--set", f"publish.url={json.dumps(NASTY)}"],
        [*COMMAND, "config", "--set", f"nsq.channel={json.dumps(NASTY)}"],
        [*COMMAND, "config", "--set", f"publish.proxy={NASTY}"],
        [*COMMAND, "totals", "--set", f"supervisor.state_dir={json.dumps(NASTY)}"],
        [*COMMAND, "republish", NASTY],
        [sys.executable, "-m", "producer", "--plays", NASTY],
        [sys.executable, "-m", "producer", NASTY],
        [sys.executable, "-m", "producer", "--config", NASTY],
    ],
    ids=lambda words: " ".join(word for word in words[-3:] if word.isprintable() and len(word) < 12),
)
def test_what_a_command_line_has_is_shown_as_escapes(words):
    result = run(*words)
    assert result.returncode
    said = said_of(result)
    assert "".join(said)
    for one in said:
        assert_plain(one)


def test_what_a_config_file_has_is_shown_as_escapes(tmp_path):
    file = Path(tmp_path / "config.toml")
    file.write_text('[publish]\nurl = "http://127.0.0.1:8080/\\u001b[31m"\n[sup\\nervisor]\n')
    for words in (["config"], ["status"]):
        result = run(*COMMAND, *words, "--config", str(file))
        for one in said_of(result):
            assert_plain(one)
