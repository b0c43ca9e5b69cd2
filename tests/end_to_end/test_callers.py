"""No other host name and no web page: what each listener answers to, on real sockets of a real service."""

import json
import os
import socket
import stat
from collections.abc import Iterator

import psutil
import pytest

from actors.cli import admin_client
from actors.config import Settings
from actors.config.sections import SupervisorSection
from actors.system import runfile
from actors.system.addresses import split_address
from actors.system.exits import Failure
from tests.support.patience import wait_until
from tests.support.raw_http import Answer, ask, say
from tests.support.services import (
    UNHURRIED,
    ServiceWithQueue,
    action_headers,
    facts_of,
    open_service,
    wait_caught_up,
)

VIDEO = "00000000-0000-4000-8000-000000000001"
OTHER = "00000000-0000-4000-8000-000000000002"
TOTAL = {"video_id": OTHER, "plays": 5, "arrived_at_ns": 1}
PUBLISH = {"batch": "b", "trigger": "deadline", "videos": [TOTAL]}
PLAY = b'{"video_id": "%b"}' % VIDEO.encode()
NAMES = 'allowed_hosts=["Ops.Example.org", "203.0.113.5", "[2001:db8::5]"]'
LISTENERS = ["client", "admin", "queue"]
ADDRESSES = {"client": "client_address", "admin": "admin_address", "queue": "nsqd_http_address"}
READING = {"client": "/totals", "admin": "/status", "queue": "/stats?format=json"}
ERROR_KEYS = {"client": "error", "admin": "error", "queue": "message"}


def changing(service: ServiceWithQueue, name: str) -> tuple[str, list[str], bytes]:
    """A request that changes something where it is obeyed: its target, its header lines and its body."""
    if name == "client":
        return "/plays", ["Content-Type: application/json"], json.dumps(PUBLISH).encode()
    if name == "queue":
        return "/pub?topic=plays", [], PLAY
    lines = [f"{key}: {value}" for key, value in action_headers(service, "republish").items()]
    return "/republish", lines, b'{"all": true}'


def state(service: ServiceWithQueue) -> object:
    """What a change would change."""
    status = service.status()
    return service.totals(), status["plays"], status["publishes"], status["nsq"]["depth"]


def assert_refused(answer: Answer, name: str, statuses: tuple[int, ...]) -> None:
    """It is refused in words, as JSON, without the server's name."""
    assert answer.status in statuses, answer
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers
    assert json.loads(answer.body)[ERROR_KEYS[name]]


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[ServiceWithQueue]:
    """A service with its default addresses: on 127.0.0.1."""
    with open_service("embedded", tmp_path_factory.mktemp("callers"), *UNHURRIED) as service:
        service.start()
        service.queue.put("plays", PLAY)
        wait_caught_up(service, 1)
        yield service


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory) -> Iterator[ServiceWithQueue]:
    """A service that listens on all addresses, and may be called by another name too."""
    settings = []
    for address in ("client.address", "admin.address", "embedded_nsqd.http_address"):
        settings += [f"{address}=0.0.0.0:0", f"{address.partition('.')[0]}.{NAMES}"]
    settings.append("embedded_nsqd.broadcast_address=queue.example.org")
    with open_service("embedded", tmp_path_factory.mktemp("everywhere"), *UNHURRIED, *settings) as service:
        service.program.append("--insecure")
        service.start()
        service.queue.put("plays", PLAY)
        wait_caught_up(service, 1)  # the service reaches itself
        yield service


def own_address() -> str:
    """An address of this machine that is not a loopback one, or 127.0.0.2 if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.2"
        return str(probe.getsockname()[0])


@pytest.mark.parametrize("name", LISTENERS)
def test_a_listener_answers_to_loopback_names_and_to_no_other(service, name):
    address, path = service.address(ADDRESSES[name]), READING[name]
    port = split_address(address)[1]
    for host in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST", "localhost."):
        for written in (host, f"{host}:{port}", f"{host}:1"):
            assert ask(address, "GET", path, f"Host: {written}").status == 200, written
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "10.9.9.9", "[2001:db8::5]"):
        for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS"):
            answer = ask(address, method, path, f"Host: {host}:{port}")
            if method == "HEAD":
                assert (answer.status, answer.body) == (403, b"")
            else:
                assert_refused(answer, name, (403,))
    section = {"queue": "embedded_nsqd"}.get(name, name)
    told = json.loads(ask(address, "GET", path, "Host: evil.example").body)[ERROR_KEYS[name]]
    assert "'evil.example'" in told and f"{section}.allowed_hosts" in told
    assert_refused(ask(address, "GET", path), name, (400,))
    assert_refused(ask(address, "GET", path, "Host:"), name, (400,))
    assert_refused(ask(address, "GET", path, "Host: localhost", "Host: localhost"), name, (400,))
    assert_refused(ask(address, "GET", path, "Host: localhost", "Host: evil.example"), name, (400,))
    assert_refused(ask(address, "GET", path, "Host: localhost, evil.example"), name, (400,))
    assert_refused(ask(address, "GET", path, "Host: a\x1b[31mb"), name, (400,))
    assert "Traceback" not in service.log()


@pytest.mark.parametrize("name", LISTENERS)
def test_the_host_of_an_absolute_target_counts(service, name):
    address, path = service.address(ADDRESSES[name]), READING[name]
    answer = ask(address, "GET", f"http://{address}{path}", f"Host: {address}")
    assert (answer.status, json.loads(answer.body).keys()) == (
        200,
        json.loads(ask(address, "GET", path, f"Host: {address}").body).keys(),
    )
    assert_refused(ask(address, "GET", f"http://evil.example{path}", f"Host: {address}"), name, (403,))
    assert_refused(ask(address, "GET", f"http://{address}{path}", "Host: evil.example"), name, (403,))
    assert_refused(ask(address, "GET", f"http://x@{address}{path}", f"Host: {address}"), name, (400,))


@pytest.mark.parametrize("name", LISTENERS)
def test_a_page_of_another_site_changes_nothing_and_other_programs_do(service, name):
    address = service.address(ADDRESSES[name])
    port = split_address(address)[1]
    target, lines, body = changing(service, name)
    before = state(service)
    for foreign in (
        "Origin: null",
        "Origin: http://evil.example",
        f"Origin: http://evil.example:{port}",
        f"Origin: http://127.0.0.1:{port + 1}",
        f"Origin: http://localhost:{port}",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ):
        answer = ask(address, "POST", target, f"Host: {address}", foreign, *lines, body=body)
        assert_refused(answer, name, (403,))
    rebound = f"evil.example:{port}"
    own = [f"Origin: http://{rebound}", "Sec-Fetch-Site: same-origin"]
    assert_refused(ask(address, "POST", target, f"Host: {rebound}", *own, *lines, body=body), name, (403,))
    assert state(service) == before
    for own in ([f"Origin: http://{address}", "Sec-Fetch-Site: same-origin"], ["Sec-Fetch-Site: none"], []):
        answer = ask(address, "POST", target, f"Host: {address}", *own, *lines, body=body)
        assert answer.status == 200, answer
    wait_until(lambda: state(service) != before, "the change")
    wait_caught_up(service, 1)


@pytest.mark.parametrize("name", LISTENERS)
def test_a_page_of_another_site_has_nothing_read(service, name):
    address, path = service.address(ADDRESSES[name]), READING[name]
    foreign = [f"Host: {address}", "Sec-Fetch-Site: cross-site"]
    for more in ("Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: iframe", "Sec-Purpose: prefetch"):
        assert_refused(ask(address, "GET", path, *foreign, more), name, (403,))
    link = ["Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"]
    assert ask(address, "GET", path, *foreign, *link).status == 200


def link_local_addresses() -> list[str]:
    """The link-local addresses of this machine, each with its interface."""
    found = [one.address for several in psutil.net_if_addrs().values() for one in several]
    return [one for one in found if one.startswith("fe80:")]


@pytest.mark.parametrize("name", LISTENERS)
def test_one_that_listens_everywhere_answers_to_its_machine_and_to_allowed_names(everywhere, name):
    address, path = everywhere.address(ADDRESSES[name]), READING[name]
    port = split_address(address)[1]
    own = [socket.gethostname(), own_address(), "0.0.0.0", "localhost", "ops.example.ORG", "203.0.113.5"]
    link_local = [one.replace("%", "%25") for one in link_local_addresses()]
    for host in (*own, "[2001:db8::5]", *(f"[{one}]" for one in link_local)):
        for written in (host, f"{host}:{port}"):
            assert ask(address, "GET", path, f"Host: {written}").status == 200, written
    for host in (
        "evil.example",
        f"{socket.gethostname()}.evil.example",
        "203.0.113.6",
        "example.org",
        "[fe80::9%25x]",
    ):
        assert_refused(ask(address, "GET", path, f"Host: {host}:{port}"), name, (403,))
    target, lines, body = changing(everywhere, name)
    host = f"ops.example.org:{port}"
    page = [f"Host: {host}", f"Origin: http://{host}", "Sec-Fetch-Site: same-origin"]
    assert ask(address, "POST", target, *page, *lines, body=body).status == 200


def test_the_queue_answers_to_the_name_that_it_tells_to_nsqadmin(service):
    address = service.address("nsqd_http_address")
    told = json.loads(ask(address, "GET", "/info", f"Host: {address}").body)
    host = f"{told['broadcast_address']}:{told['http_port']}"
    assert ask(address, "GET", "/stats?format=json", f"Host: {host}").status == 200


def test_the_queue_tells_its_broadcast_address_and_answers_to_it(everywhere):
    address = everywhere.address("nsqd_http_address")
    told = json.loads(ask(address, "GET", "/info", f"Host: {address}").body)
    assert (told["broadcast_address"], told["hostname"]) == ("queue.example.org", socket.gethostname())
    host = f"{told['broadcast_address']}:{told['http_port']}"
    assert ask(address, "GET", "/stats?format=json", f"Host: {host}").status == 200


def test_what_everyone_reaches_is_said_once_at_the_start(everywhere, service):
    said = [line for line in everywhere.log().splitlines() if "everyone in the network can" in line]
    assert len(said) == 3
    assert all("on all addresses of this machine" in line and '"127.0.0.1:0"' in line for line in said)
    assert sum("INSECURE: " in line and "has no token (--insecure)" in line for line in said) == 2
    assert "everyone in the network" not in service.log()


def test_the_commands_reach_a_service_that_listens_everywhere(everywhere):
    assert everywhere.command("restart", "client").returncode == 1  # it runs
    assert everywhere.command("terminate", "client").returncode == 0
    assert everywhere.command("restart", "client").returncode == 0
    assert everywhere.command("reload").returncode == 0


def test_the_probes_answer_to_any_host(service):
    address = service.address("admin_address")
    for path in ("/livez", "/readyz", "/healthz"):
        for host in ("10.244.3.17:8081", "evil.example", "playtally.default.svc"):
            assert ask(address, "GET", path, f"Host: {host}").status == 200
        assert say(address, f"GET {path} HTTP/1.0\r\n\r\n".encode()).status == 200
        assert_refused(ask(address, "GET", path), "admin", (400,))
        assert_refused(ask(address, "GET", path, "Host: a", "Host: b"), "admin", (400,))


def test_the_probes_tell_a_foreign_host_the_result_alone(service):
    address = service.address("admin_address")
    for path, name in (("/readyz", "ready"), ("/healthz", "healthy")):
        assert json.loads(ask(address, "GET", path, "Host: evil.example").body) == {name: True}
        other_page = [f"Host: {address}", "Sec-Fetch-Site: cross-site"]
        assert json.loads(ask(address, "GET", path, *other_page).body) == {name: True}
        assert json.loads(ask(address, "GET", path, f"Host: {address}").body)["reasons"] == []


def test_nothing_is_obeyed_without_the_secret_that_only_the_user_can_read(service):
    address, before = service.address("admin_address"), state(service)
    file = service.state_dir / "service.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = facts_of(service)["secret"]
    assert len(secret) >= 32
    bodies = {"/republish": b'{"all": true}'}
    bodies["/set"] = b'{"setting": "publish.in_flight_max", "value": "1"}'
    actions = {"/republish": "republish", "/reload": "reload"}
    actions |= {
        f"/children/consumer/{action}": action for action in ("kill", "terminate", "restart", "delete")
    }
    actions |= {"/pause/consuming": "pause", "/resume/publishing": "resume", "/set": "set"}
    for path, action in actions.items():
        for given in (
            [],
            ["Authorization:"],
            ["Authorization: Bearer"],
            ["Authorization: Bearer x"],
            [f"Authorization: Bearer {secret}x"],
            [f"Authorization: Bearer {secret[:-1]}"],
            [f"Authorization: Basic {secret}"],
            ["Authorization: Bearer \xff"],
        ):
            lines = [f"Host: {address}", f"X-Playtally-Action: {action}", *given]
            answer = ask(address, "POST", path, *lines, body=bodies.get(path, b""))
            assert_refused(answer, "admin", (401,))
            assert answer.headers["www-authenticate"] == "Bearer"
    assert state(service) == before
    assert secret not in service.log()
    assert secret not in service.command("status", "--json").stdout


def test_another_user_is_told_whose_service_it_is(tmp_path):
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    runfile.write(str(state_dir), {"pid": 2, "admin_address": "127.0.0.1:1"})
    settings = Settings(supervisor=SupervisorSection(state_dir=str(state_dir)))
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)  # nobody
    else:
        (state_dir / runfile.NAME).chmod(0)
    try:
        with pytest.raises(
            Failure, match=r"cannot be reached .Permission denied.|service\.json is another user's"
        ):
            admin_client.facts_of_service(settings)
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.parametrize("name", LISTENERS)
def test_what_can_not_be_read_is_refused_in_words_too(service, name):
    address, path = service.address(ADDRESSES[name]), READING[name]
    post = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ".encode()
    for request in (
        b"no http\r\n\r\n",
        b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nno header\r\n\r\n",
        *(post + length + b"\r\n\r\n" for length in (b"x", b"\xb2", b"99999999999999", b"1" * 5000)),
    ):
        assert_refused(say(address, request), name, (400, 413))
    assert_refused(ask(address, "GET", "/no/such/path", "Host: localhost"), name, (404,))
    assert_refused(ask(address, "BREW", path, "Host: localhost"), name, (405,))
    head = ask(address, "HEAD", "/no/such/path", "Host: localhost")
    assert (head.status, head.body) == (404, b"")
    assert "Traceback" not in service.log()


@pytest.mark.parametrize("name", LISTENERS)
def test_a_target_that_is_no_utf_8_is_refused_in_words(service, name):
    address, path = service.address(ADDRESSES[name]), READING[name]
    for target in (f"{path}?start=%ff", f"{path}?%ff=1", f"{path}%ff", "/videos?start=%ff", "/x\xff", "/%c3"):
        answer = ask(address, "GET", target, "Host: localhost")
        assert_refused(answer, name, (400,))
        assert "UTF-8" in json.loads(answer.body)[ERROR_KEYS[name]]
    assert (
        ask(address, "GET", f"{path}{'&' if '?' in path else '?'}start=%C3%A9", "Host: localhost").status
        == 200
    )
    assert "Traceback" not in service.log()


@pytest.mark.parametrize(
    ("name", "methods_by_path"),
    [
        ("client", {"/": "GET, HEAD", "/totals": "GET, HEAD", "/plays": "POST"}),
        ("admin", {"/": "GET, HEAD", "/healthz": "GET, HEAD", "/reload": "POST", "/status": "GET, HEAD"}),
        ("queue", {"/ping": "GET, OPTIONS", "/pub?topic=plays": "OPTIONS, POST"}),
    ],
)
def test_a_refused_method_is_answered_with_those_that_the_path_takes(service, name, methods_by_path):
    address = service.address(ADDRESSES[name])
    for path, allowed in methods_by_path.items():
        for method in ("DELETE", "PUT", "BREW", "GET" if "POST" in allowed else "POST"):
            answer = ask(address, method, path, "Host: localhost")
            assert_refused(answer, name, (405,))
            assert answer.headers["allow"] == allowed, (path, method)


@pytest.mark.parametrize("name", LISTENERS)
def test_headers_that_are_too_long_are_refused_in_words_and_said_once(service, name):
    address, path = service.address(ADDRESSES[name]), READING[name]
    for more in (70_000, 1_000_000) * 10:
        cookie = b"Cookie: a=" + b"x" * more + b"\r\n\r\n"
        answer = say(address, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n".encode() + cookie)
        assert_refused(answer, name, (431,))
        assert "cookies" in json.loads(answer.body)[ERROR_KEYS[name]]
    assert 1 <= service.log().count(f"{address}: a request from 127.0.0.1 has headers of more than") < 10
    assert "Unsatisfiable" not in service.log()


@pytest.mark.parametrize("name", ["client", "queue"])
def test_a_chunk_of_an_unreadable_length_is_refused_in_words(service, name):
    address, (path, _, _) = service.address(ADDRESSES[name]), changing(service, name)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert_refused(say(address, head.encode() + b"1" * 70 + b"\r\n"), name, (400,))


@pytest.mark.parametrize("name", LISTENERS)
def test_requests_that_can_not_be_read_do_not_fill_the_log(service, name):
    address, path = service.address(ADDRESSES[name]), READING[name]
    before = len(service.log())
    for number in range(50):
        length = b"%d" % number + b"x" * 10_000
        say(
            address,
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ".encode() + length + b"\r\n\r\n",
        )
    assert len(service.log()) - before < 5_000


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("client", ["/", "/page.js", "/icon.svg", "/totals", "/report", "/videos", "/healthz", "/events"]),
        ("admin", ["/", "/page.js", "/page.css", "/icon.svg", "/status", "/metrics"]),
        ("admin", ["/livez", "/readyz", "/healthz"]),
    ],
)
def test_head_answers_wherever_get_does(service, name, paths):
    address = service.address(ADDRESSES[name])
    for path in paths:
        head = ask(address, "HEAD", path, f"Host: {address}")
        assert (head.status, head.body) == (200, b""), path
        if path == "/events":
            assert head.headers["content-type"] == "text/event-stream"
            continue
        got = ask(address, "GET", path, f"Host: {address}")
        assert (got.status, head.headers["content-type"]) == (200, got.headers["content-type"])


@pytest.mark.parametrize("name", LISTENERS)
def test_headers_that_are_too_large_are_refused_in_words(service, name):
    address = service.address(ADDRESSES[name])
    answer = ask(
        address, "GET", READING[name], f"Host: {address}", *[f"X-{n}: {'x' * 1000}" for n in range(70)]
    )
    assert_refused(answer, name, (431,))
    assert ask(address, "GET", READING[name], f"Host: {address}").status == 200
