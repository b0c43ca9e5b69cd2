"""Tokens on real processes: who may read and who may change, at a service that other machines reach."""

import json
import os
import socket
import urllib.parse
from collections.abc import Iterator

import pytest

from actors.cli.launch import Service
from actors.system.session_form import FOLDER
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.raw_http import Answer, ask
from tests.support.secured_service import descendants, processes_with
from tests.support.services import (
    ANY_PORTS,
    UNHURRIED,
    ServiceWithQueue,
    action_headers,
    facts_of,
    open_service,
    wait_caught_up,
    wait_status,
)

VIDEO = "00000000-0000-4000-8000-000000000001"
PLAY = b'{"video_id": "%b"}' % VIDEO.encode()
TOTAL = {"video_id": "00000000-0000-4000-8000-000000000002", "plays": 5, "arrived_at_ns": 1}
PUBLISH = json.dumps({"batch": "b", "trigger": "deadline", "videos": [TOTAL]}).encode()
ADMIN, CLIENT = "a-token-for-those-who-run-it", "a-token-for-those-who-publish"
EVERYWHERE = ["admin.address=0.0.0.0:0", "client.address=0.0.0.0:0"]
READING = {
    "admin": ["/status", "/metrics", "/page.js", "/page.css", "/nothing", "/children/consumer/kill"],
    "client": ["/totals", "/report", "/videos", "/page.js", "/worker.js", "/nothing", "/events"],
}
OPEN = {"admin": ["/livez", "/readyz", "/healthz"], "client": ["/healthz"]}
TOKENS = {"admin": ADMIN, "client": CLIENT}


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[ServiceWithQueue]:
    """A service with both tokens: one in a file, one in the environment. Nobody may act from outside."""
    path = tmp_path_factory.mktemp("tokens")
    (path / "token").write_text(f"{ADMIN}\n")
    settings = [*EVERYWHERE, f"admin.token_file={path / 'token'}", "client.token_env=PLAYTALLY_CLIENT"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLAYTALLY_CLIENT", CLIENT)
        with open_service("embedded", path, *UNHURRIED, *settings) as service:
            service.start()
            service.queue.put("plays", PLAY)
            wait_caught_up(service, 1)
            yield service


def place(service: Service, name: str) -> str:
    return service.address(f"{name}_address")


def get(service: Service, name: str, path: str, *lines: str) -> Answer:
    return ask(place(service, name), "GET", path, "Host: localhost", *lines)


def post(service: Service, name: str, path: str, *lines: str, body: bytes = b"") -> Answer:
    return ask(place(service, name), "POST", path, "Host: localhost", *lines, body=body)


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


def sign_in(service: Service, name: str, *lines: str, token: str | None = None) -> Answer:
    body = urllib.parse.urlencode({"token": TOKENS[name] if token is None else token}).encode()
    form = "Content-Type: application/x-www-form-urlencoded"
    return post(service, name, "/session", form, *lines, body=body)


def cookie_of(answer: Answer) -> str:
    assert answer.status == 303, answer
    return f"Cookie: {answer.headers['set-cookie'].partition(';')[0]}"


def assert_refused(answer: Answer, status: int, *words: str) -> None:
    """It is refused in words, and no token is among them."""
    assert answer.status == status, answer
    why = json.loads(answer.body)["error"]
    assert all(word in why for word in words), why
    assert ADMIN not in why and CLIENT not in why


@pytest.mark.parametrize("name", ["admin", "client"])
def test_nothing_is_read_without_the_token_but_the_probes(service, name):
    for path in ["/", *READING[name]]:
        for lines in (
            [],
            [bearer("wrong" * 4)],
            [bearer(TOKENS[name][:-1])],
            [f"Cookie: token={TOKENS[name]}"],
        ):
            answer = get(service, name, path, *lines)
            assert answer.status in (401, 429), (path, lines)
            assert answer.headers["www-authenticate"] == "Bearer"
        for method in ("POST", "DELETE", "OPTIONS", "BREW"):
            assert ask(place(service, name), method, path, "Host: localhost").status == 401, (path, method)
        head = ask(place(service, name), "HEAD", path, "Host: localhost")
        assert (head.status, head.body) == (401, b"")
        assert_refused(get(service, name, f"{path}?token={TOKENS[name]}"), 401) if path != "/" else None
        if path != "/events":
            found = get(service, name, path, bearer(TOKENS[name]))
            assert found.status == {"/nothing": 404, "/children/consumer/kill": 405}.get(path, 200), path
    for path in OPEN[name]:
        assert get(service, name, path).status == get(service, name, path, bearer("wrong" * 4)).status == 200
    other = TOKENS["client" if name == "admin" else "admin"]
    assert get(service, name, READING[name][0], bearer(other)).status in (401, 429)


def test_the_secret_of_the_run_file_opens_everything_at_admin_so_the_commands_need_no_token(
    service, monkeypatch
):
    secret = facts_of(service)["secret"]
    assert get(service, "admin", "/status", bearer(secret)).status == 200
    assert get(service, "client", "/totals", bearer(secret)).status in (401, 429)
    for words in (["status"], ["status", "--json"], ["reload"], ["kill", "client"]):
        assert service.command(*words).returncode == 0, words
    wait_status(service, lambda found: found["caught_up"], "the client to come back")
    checked = service.command("check")
    assert checked.returncode == 0, checked.stdout


def test_a_session_survives_a_kill_of_its_listener(service):
    session, before = cookie_of(sign_in(service, "client")), service.child("client")["incarnation"]
    assert service.command("kill", "client").returncode == 0
    wait_until(lambda: service.child("client")["incarnation"] > before, "the client to come back")
    wait_status(service, lambda found: found["caught_up"], "the service to catch up")
    assert get(service, "client", "/totals", session).status == 200


def test_the_services_own_publishes_have_the_token_and_those_of_others_need_it(service):
    assert service.totals() == {VIDEO: 1}
    assert "can't be asked for its totals" not in service.log()
    kind = "Content-Type: application/json"
    for lines in ([], [bearer("wrong" * 4)], [bearer(ADMIN)]):
        assert post(service, "client", "/plays", kind, *lines, body=PUBLISH).status in (401, 429)
    session = cookie_of(sign_in(service, "client"))
    assert post(service, "client", "/plays", kind, session, body=PUBLISH).status == 403
    assert service.totals() == {VIDEO: 1}
    assert post(service, "client", "/plays", kind, bearer(CLIENT), body=PUBLISH).status == 200
    assert len(service.totals()) == 2


@pytest.mark.parametrize("name", ["admin", "client"])
def test_a_browser_gets_a_form_and_for_the_token_a_session(service, name):
    page = get(service, name, "/")
    assert page.status == 401 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-store"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    for part in (b'action="session"', b'method="post"', b'name="token"', f"{name}.token_file".encode()):
        assert part in page.body
    for part in (b"<script", b"<style", b" style=", b" onclick", b"http://", b"https://"):
        assert part not in page.body
    assert get(service, name, "/session.css").body == (FOLDER / "session.css").read_bytes()
    assert get(service, name, "/icon.svg").status == 200

    entered = sign_in(service, name, "Origin: http://localhost")
    assert (entered.status, entered.headers["location"]) == (303, "./")
    port = place(service, name).rpartition(":")[2]
    pair, *attributes = entered.headers["set-cookie"].split("; ")
    assert pair.startswith(f"playtally_{name}_{port}=") and TOKENS[name] not in pair
    assert attributes == ["Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"]
    for path in ("/", READING[name][0]):
        assert get(service, name, path, cookie_of(entered)).status == 200
    other = "client" if name == "admin" else "admin"
    forged = cookie_of(entered).replace(
        f"_{name}_{port}", f"_{other}_{place(service, other).rpartition(':')[2]}"
    )
    assert get(service, other, READING[other][0], forged).status == 401
    ended = post(service, name, "/session/end")
    assert (ended.status, ended.headers["location"]) == (303, "../")
    assert "Max-Age=0" in ended.headers["set-cookie"]


@pytest.mark.parametrize("name", ["admin", "client"])
def test_no_page_runs_an_inline_script_or_is_framed(service, name):
    for lines in ([], [bearer(TOKENS[name])]):
        page = get(service, name, "/", *lines)
        policy = page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert b"<script>" not in page.body and b"<style" not in page.body


@pytest.mark.parametrize("name", ["admin", "client"])
@pytest.mark.parametrize("length", [20_000, 500_000])
def test_a_form_that_is_too_long_is_refused_in_words_without_a_token(service, name, length):
    answer = post(service, name, "/session", body=b"token=" + b"x" * length)
    assert answer.status in (400, 413)
    assert b"more than 16384 bytes" in answer.body or json.loads(answer.body)["error"]
    assert get(service, name, "/", bearer(TOKENS[name])).status == 200


@pytest.mark.parametrize(
    ("line", "is_secure"),
    [
        ("X-Forwarded-Proto: https", True),
        ("X-Forwarded-Proto: HTTPS, http", True),
        ("Origin: https://localhost", True),
        ("X-Forwarded-Proto: http", False),
        ("X-Forwarded-Proto: http, https", False),
        ("Origin: http://localhost", False),
    ],
)
def test_where_the_browser_speaks_https_the_cookie_is_sent_by_https_alone(service, line, is_secure):
    answer = sign_in(service, "admin", line)
    assert answer.status == 303
    assert answer.headers["set-cookie"].endswith("; Secure") == is_secure


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"", 400, b"has 0 fields"),
        (b"token=", 400, b"has 0 fields"),
        (f"token={ADMIN}&token={ADMIN}".encode(), 400, b"has 2 fields"),
        (b"&".join([b"token=1"] * 10_000)[:16_000], 400, b"can&#x27;t be read"),
        (b"token=\xff", 400, b"can&#x27;t be read"),
        (b"token=%ff%00%0d%0aSet-Cookie:x", 401, b"This is not the token."),
        (b"token=<script>", 401, b"This is not the token."),
        (b"token=" + b"x" * 20_000, 413, b"more than 16384 bytes"),
        (json.dumps({"token": ADMIN}).encode(), 400, b"has 0 fields"),
    ],
    ids=range(9),
)
def test_a_form_that_is_wrong_is_shown_again_with_the_reason(service, body, status, word):
    answer = post(service, "client", "/session", body=body)
    assert answer.status in (status, 413 if len(body) > 16384 else status), answer
    if answer.headers["content-type"].startswith("text/html"):
        assert word in answer.body and b"<script" not in answer.body
    assert "set-cookie" not in answer.headers
    assert "Traceback" not in service.log()


def test_headers_and_cookies_that_are_there_twice_and_forged_hosts_are_refused_in_words(service):
    right, cookie = bearer(ADMIN), cookie_of(sign_in(service, "admin"))
    assert_refused(get(service, "admin", "/status", right, right), 400, "2 Authorization headers")
    assert_refused(get(service, "admin", "/status", cookie, cookie), 400, "2 cookies")
    doubled = f"{cookie}; {cookie.removeprefix('Cookie: ')}"
    assert_refused(get(service, "admin", "/status", doubled), 400, "2 cookies")
    for lines in ([right], [cookie]):
        answer = ask(place(service, "admin"), "GET", "/status", "Host: evil.example", *lines)
        assert_refused(answer, 403, "evil.example")
        assert_refused(get(service, "admin", "/status", *lines, "Sec-Fetch-Site: cross-site"), 403)
    assert_refused(sign_in(service, "admin", "Origin: http://evil.example"), 403, "evil.example")
    assert_refused(sign_in(service, "admin", "Origin: null"), 403)


def test_wrong_tokens_are_slowed_down_and_the_right_one_is_taken_meanwhile(service):
    wrong = [get(service, "admin", "/status", bearer(f"wrong-{n}")) for n in range(200)]
    slowed = [one for one in wrong if one.status == 429]
    assert slowed and {one.status for one in wrong} <= {401, 429}
    assert_refused(slowed[0], 429, "try again in 1 s")
    assert slowed[0].headers["retry-after"] == "1"
    assert get(service, "admin", "/status", bearer(ADMIN)).status == 200
    assert sign_in(service, "admin").status == 303
    assert 1 <= service.log().count("has a wrong token") < 8
    assert "wrong-1" not in service.log()


def test_who_has_the_token_changes_nothing_unless_the_settings_say_so(service):
    headers = [f"{key}: {value}" for key, value in action_headers(service, "reload").items()]
    assert post(service, "admin", "/reload", *headers).status == 200
    named = "X-Playtally-Action: reload"
    assert_refused(post(service, "admin", "/reload", named), 401)
    assert_refused(post(service, "admin", "/reload", named, bearer(ADMIN)), 403, "admin.actions = false")
    own = ["Origin: http://localhost", cookie_of(sign_in(service, "admin"))]
    assert_refused(post(service, "admin", "/reload", named, *own), 403, "admin.actions = false")


def test_with_actions_the_token_may_and_a_session_from_its_own_page(tmp_path):
    (tmp_path / "token").write_text(ADMIN)
    settings = [f"admin.token_file={tmp_path / 'token'}", "admin.actions=true"]
    with open_service("embedded", tmp_path, *UNHURRIED, *settings) as service:
        service.start()
        named, path = "X-Playtally-Action: restart", "/children/client/restart"
        session = cookie_of(sign_in(service, "admin"))
        port = place(service, "admin").rpartition(":")[2]
        assert_refused(post(service, "admin", path, named, session), 403, "Origin")
        for foreign in ("Origin: http://evil.example", f"Origin: http://localhost:{port}", "Origin: null"):
            assert_refused(post(service, "admin", path, named, session, foreign), 403)
            assert_refused(post(service, "admin", path, named, bearer(ADMIN), foreign), 403)
        assert_refused(post(service, "admin", path, named), 401)
        for who in (
            [bearer(ADMIN)],
            [session, "Origin: http://localhost"],
            [session, "Sec-Fetch-Site: same-origin"],
        ):
            assert_refused(post(service, "admin", path, named, *who), 409, "client")  # it runs: obeyed so far
            assert_refused(post(service, "admin", path, *who), 403, "X-Playtally-Action")
        name = "X-Playtally-Action: terminate"
        assert post(service, "admin", "/children/client/terminate", name, bearer(ADMIN)).status == 200
        assert service.child("client")["state"] == "stopped"


def test_a_new_token_is_taken_while_it_runs_and_ends_sessions_and_streams(tmp_path):
    file, another = tmp_path / "token", "another-token-for-all-of-them"
    file.write_text(ADMIN)
    settings = [f"{name}.token_file={file}" for name in ("admin", "client")]
    with open_service("embedded", tmp_path, *UNHURRIED, *settings) as service:
        service.start()
        cookie = cookie_of(sign_in(service, "client", token=ADMIN))
        host, port = place(service, "client").rsplit(":", 1)
        with open_stream(host, int(port), cookie) as stream:
            file.write_text("short")
            told = service.command("reload")
            assert told.returncode == 1 and "too short" in told.stdout, told
            assert get(service, "admin", "/status", bearer(ADMIN)).status == 200
            file.write_text(another)
            told = service.command("reload")
            assert told.returncode == 0, told
            assert f"admin.token_file: {file} changed and was read again" in told.stdout
            assert f"client.token_file: {file} changed and was read again" in told.stdout
            for name in ("admin", "client"):
                path = READING[name][0]
                wait_until(
                    lambda name=name, path=path: get(service, name, path, bearer(another)).status == 200,
                    "the new token to be taken",
                )
                assert get(service, name, path, bearer(ADMIN)).status == 401
            assert get(service, "client", "/totals", cookie).status == 401
            read = b""
            while not read.endswith(b"\r\n0\r\n\r\n"):  # the end of the answer; the connection is kept
                more = stream.recv(1 << 16)
                assert more
                read += more
        service.queue.put("plays", PLAY)
        wait_status(service, lambda found: found["publishes"]["total"] >= 1, "a publish with the new token")
        assert another not in service.log() and ADMIN not in service.log()


def open_stream(host: str, port: int, cookie: str) -> socket.socket:
    """The page's stream, with its first bytes read."""
    stream = socket.create_connection((host, port), PATIENCE_S)
    stream.sendall(f"GET /events HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n\r\n".encode())
    assert stream.recv(12) == b"HTTP/1.1 200"
    return stream


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc: what processes show is seen there")
def test_a_token_is_shown_nowhere_and_is_with_those_who_need_it(service):
    pids = descendants(service.process.pid)
    assert len(pids) >= 6
    # whoever starts the service gave it to the supervisor itself
    assert set(processes_with(CLIENT, pids)) <= {(service.process.pid, "environ")}
    assert processes_with(ADMIN, pids) == []
    for words in (["config"], ["status", "--json"], ["check"]):
        shown = service.command(*words)
        assert ADMIN not in shown.stdout + shown.stderr and CLIENT not in shown.stdout + shown.stderr
    assert ADMIN not in service.log() and CLIENT not in service.log()


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        (
            ["admin.address=0.0.0.0:0", "client.address=[::]:0"],
            ["admin.address", "client.address"],
        ),
        (["admin.address=10.1.2.3:0"], ["admin.address"]),
        (["admin.token_env=SHORT"], ["admin.token_env or admin.token_file is too short"]),
        (["client.token_env=SPACED"], ["client.token_env or client.token_file is not one printable word"]),
        (["client.token_env=NOT_THERE"], ["client.token_env = 'NOT_THERE'"]),
        (
            ["admin.token_env=SHORT", "admin.token_file=/x"],
            ["admin.token_env = 'SHORT' and admin.token_file"],
        ),
        (["admin.actions=true"], ["admin.actions = true without a token"]),
    ],
    ids=range(7),
)
def test_what_is_not_safe_is_refused_before_anything_starts(tmp_path, monkeypatch, settings, lines):
    monkeypatch.setenv("SHORT", "fifteen-letters"[:15])
    monkeypatch.setenv("SPACED", "a token of several words")
    monkeypatch.delenv("NOT_THERE", raising=False)
    service = Service(tmp_path / "state", [*ANY_PORTS, *settings])
    ran = service.command("run")
    assert ran.returncode == 2, ran
    head, *problems = ran.stderr.splitlines()
    assert head == "the settings are not right:"
    assert len(problems) == len(lines)
    assert all(line in problem for line, problem in zip(lines, problems, strict=True)), problems
    assert "fifteen" not in ran.stderr and "several" not in ran.stderr
    assert not (tmp_path / "state").exists()


def test_a_demo_with_tokens_reads_its_own_client(tmp_path, monkeypatch):
    monkeypatch.setenv("PLAYTALLY_CLIENT", CLIENT)
    monkeypatch.setenv("PLAYTALLY_OTHER", "a-token-of-another-client")
    settings = [
        "client.token_env=PLAYTALLY_CLIENT",
        "publish.token_env=PLAYTALLY_OTHER",
        "dispatch.deadline_s=1",
    ]
    service = Service(tmp_path / "state", settings)
    ran = service.command("demo", "--plays", "200", "--videos", "5")
    assert ran.returncode == 0, ran.stdout + ran.stderr
