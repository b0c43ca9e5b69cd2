"""A hostile page in a real browser tries all that a page can against every listener, and changes nothing."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from actors.system.addresses import split_address
from tests.support.patience import PATIENCE_S
from tests.support.queues import QueueHttp
from tests.support.services import UNHURRIED, action_headers, open_service, wait_caught_up

VIDEO = "00000000-0000-4000-8000-000000000001"
PLAY = b'{"video_id": "%b"}' % VIDEO.encode()
TOTAL = {"video_id": VIDEO, "plays": 999_999, "arrived_at_ns": 1}
PUBLISH = json.dumps({"batch": "evil", "trigger": "deadline", "videos": [TOTAL]})
TARGETS = {
    "client_address": ["/plays", "/totals", "/"],
    "admin_address": ["/children/consumer/terminate", "/republish", "/reload", "/status"],
    "nsqd_http_address": [
        "/pub?topic=plays",
        "/mpub?topic=plays",
        "/topic/pause?topic=plays",
        "/channel/pause?topic=plays&channel=playtally",
        "/channel/empty?topic=plays&channel=playtally",
        "/channel/delete?topic=plays&channel=playtally",
        "/topic/empty?topic=plays",
        "/topic/delete?topic=plays",
        "/topic/create?topic=evil",
        "/stats",
    ],
    "nsqd_tcp_address": ["/"],
}

# Resolves when every attempt has an outcome, with what could be read.
ATTACK = """async ([urls, body, headers]) => {
    const read = [];
    const done = async (attempt) => {
      try {
        const answer = await attempt;
        if (answer.type !== "opaque") read.push([answer.url, answer.status]);
      } catch { /* the browser says no more than that it failed */ }
    };
    const element = (name, url) => new Promise((resolve) => {
      const one = document.createElement(name);
      one.onload = one.onerror = resolve;
      document.body.append(Object.assign(one, { src: url }));
    });
    const form = (url, body, enctype) => new Promise((resolve) => {
      const frame = document.createElement("iframe");
      frame.name = `frame-${document.querySelectorAll("iframe").length}`;
      document.body.append(frame);
      const sent = document.createElement("form");
      Object.assign(sent, { method: "post", action: url, target: frame.name, enctype });
      const field = document.createElement("input");
      Object.assign(field, { name: body.slice(0, -1), value: "" });
      sent.append(field);
      document.body.append(sent);
      frame.onload = resolve;
      sent.submit();
    });
    await Promise.all(urls.map((url) => Promise.all([
      element("img", url),
      done(fetch(url)),
      form(url, body, "text/plain"),
      done(fetch(url, { method: "POST", mode: "no-cors", body })),
      done(fetch(url, { method: "POST", body })),
      done(fetch(url, { method: "POST", body, headers })),
      done(fetch(url, { method: "DELETE" })),
      navigator.sendBeacon(url, body),
    ])));
    return read;
}"""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with open_service("embedded", tmp_path_factory.mktemp("service"), *UNHURRIED) as service:
        service.start()
        service.queue.put("plays", PLAY)
        wait_caught_up(service, 1)
        yield service


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """The port of a web server of another site, which has an empty page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>another site</title><body></body>")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def state(service):
    """All that an attack could change."""
    status = service.status()
    queue = {
        topic["topic_name"]: (
            topic["paused"],
            topic["message_count"],
            [(one["channel_name"], one["paused"], one["depth"]) for one in topic["channels"]],
        )
        for topic in QueueHttp(service.queue.http_address()).stats()["topics"]
    }
    children = [(one["id"], one["state"], one["incarnation"]) for one in status["children"]]
    report = service.report()
    return queue, children, service.totals(), report["publishes"], status["plays"], status["publishes"]


@pytest.mark.parametrize("site", ["evil.example", "127.0.0.1"])
def test_a_page_of_another_site_changes_nothing_and_reads_nothing(browser, service, elsewhere, site):
    before = state(service)
    headers = action_headers(service, "republish")  # even if it knew the secret
    with contextlib.closing(browser.new_page()) as page:
        page.set_default_timeout(PATIENCE_S * 1000)
        page.goto(f"http://{site}:{elsewhere}/")
        for name, paths in TARGETS.items():
            urls = [f"http://{service.address(name)}{path}" for path in paths]
            body = PUBLISH if name == "client_address" else PLAY.decode()
            assert page.evaluate(ATTACK, [urls, body, headers]) == []
    assert state(service) == before


@pytest.mark.parametrize("name", ["client_address", "admin_address", "nsqd_http_address"])
def test_a_page_whose_name_leads_here_gets_nothing_but_refusals(browser, service, name):
    before = state(service)
    port = split_address(service.address(name))[1]
    with contextlib.closing(browser.new_page()) as page:
        page.set_default_timeout(PATIENCE_S * 1000)
        assert page.goto(f"http://evil.example:{port}/").status == 403
        headers = action_headers(service, "republish") | {"Content-Type": "application/json"}
        outcomes = page.evaluate(
            """([paths, body, headers]) => Promise.all(paths.flatMap((path) => [
                 fetch(path).then((answer) => answer.status),
                 fetch(path, { method: "POST", body, headers }).then((answer) => answer.status),
               ]))""",
            [TARGETS[name], PUBLISH, headers],
        )
        assert set(outcomes) == {403}
    assert state(service) == before
