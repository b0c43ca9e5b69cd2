"""Who asks a listener: what it judges by, and what it says where that is not enough."""

import logging

import pytest

from actors.system.doorkeeper import RETRY_AFTER_S, WRONG_PER_S_MAX, Caller, Denial, Doorkeeper, Right

TOKEN, SECRET = "a-token-of-the-test", "the-secret-of-the-run-file"


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def keeper(clock):
    keeper = Doorkeeper("admin", lambda: TOKEN, lambda: SECRET, ["/livez"], clock, clock)
    keeper.listens_on(8081)
    return keeper


def judged(keeper, *lines, method="GET", path="/status"):
    """What it says of a request with these headers."""
    pairs = [line.split(": ", 1) for line in lines]
    return keeper.judge(method, path, lambda name: [value for one, value in pairs if one == name], "10.0.0.9")


def session_of(keeper):
    value = keeper.enter(TOKEN, "10.0.0.9")
    assert isinstance(value, str)
    return f"Cookie: other=1; {keeper.cookie}={value}; more=2"


@pytest.mark.parametrize("written", ["Bearer {}", "bearer {}", "BEARER   {} "])
def test_who_has_the_token_or_the_secret_is_told_apart(keeper, written):
    assert judged(keeper, f"Authorization: {written.format(TOKEN)}") == Caller(Right.TOKEN, "10.0.0.9")
    found = judged(keeper, f"Authorization: {written.format(SECRET)}")
    assert found == Caller(Right.SECRET, "10.0.0.9")
    assert found.who == "the command line"


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["Authorization: "],
        ["Authorization: Bearer"],
        ["Authorization: Bearer "],
        [f"Authorization: Basic {TOKEN}"],
        [f"Authorization: {TOKEN}"],
        [f"Authorization: Bearer {TOKEN}x"],
        [f"Authorization: Bearer {TOKEN[:-1]}"],
        [f"Authorization: Bearer {TOKEN} {TOKEN}"],
        ["Authorization: Bearer \xff\udcff"],
        [f"Cookie: playtally_admin_8081={TOKEN}"],
        ["Cookie: playtally_admin_8081="],
    ],
)
def test_nothing_else_is_enough_and_the_words_say_what_is(keeper, lines):
    found = judged(keeper, *lines)
    assert isinstance(found, Denial)
    assert (found.status, dict(found.headers)) == (401, {"WWW-Authenticate": "Bearer"})
    assert "Authorization: Bearer <token>" in found.why and "admin.token_file" in found.why
    assert TOKEN not in found.why


def test_an_open_path_needs_none(keeper):
    assert judged(keeper, path="/livez") == Caller(Right.NONE, "10.0.0.9")
    for path in ("/livez/", "/livez/x", "/Livez", "//livez", ""):
        assert isinstance(judged(keeper, path=path), Denial), path


def test_without_a_token_anyone_may_and_the_secret_is_still_known():
    keeper = Doorkeeper("admin", str, lambda: SECRET)
    assert judged(keeper) == judged(keeper, "Authorization: Bearer x") == Caller(Right.NONE, "10.0.0.9")
    assert judged(keeper, f"Authorization: Bearer {SECRET}").right is Right.SECRET
    assert not keeper.asks
    assert keeper.enter("", "").status == keeper.enter("x", "").status == 404


def test_no_empty_token_is_ever_right():
    keeper = Doorkeeper("client", lambda: TOKEN)
    assert isinstance(judged(keeper, "Authorization: Bearer "), Denial)
    assert not keeper.admits("") and not keeper.admits("Bearer ")
    assert keeper.admits(f"Bearer {TOKEN}")
    assert Doorkeeper("client").admits("")


def test_two_headers_and_two_cookies_are_refused_in_words(keeper):
    right = f"Authorization: Bearer {TOKEN}"
    found = judged(keeper, right, right)
    assert found.status == 400 and "2 Authorization headers, expected one" in found.why
    cookie = session_of(keeper)
    for lines in ([cookie, cookie], [f"{cookie}; {keeper.cookie}=x"]):
        found = judged(keeper, *lines)
        assert found.status == 400 and "2 cookies playtally_admin_8081, expected one" in found.why


def test_a_session_reads_and_changes_from_its_own_page_alone(keeper):
    cookie = session_of(keeper)
    assert judged(keeper, cookie) == Caller(Right.SESSION, "10.0.0.9")
    for own in ("Origin: http://localhost:8081", "Sec-Fetch-Site: same-origin"):  # the right one: `hosts.py`
        assert judged(keeper, cookie, own, method="POST").right is Right.SESSION
    for method in ("POST", "DELETE", "PUT"):
        found = judged(keeper, cookie, method=method)
        assert found.status == 403 and "Origin" in found.why


def test_a_proxys_own_authorization_does_not_hide_a_session_and_a_wrong_token_does(keeper):
    cookie = session_of(keeper)
    assert judged(keeper, cookie, "Authorization: Basic dXNlcjpwYXNz").right is Right.SESSION
    assert judged(keeper, cookie, "Authorization: Bearer wrong").status == 401


def test_a_session_ends_with_its_time_and_with_the_token(clock):
    tokens = [TOKEN]
    keeper = Doorkeeper("admin", lambda: tokens[-1], clock=clock, wall=clock)
    cookie = session_of(keeper)
    tokens.append("another-token-of-it")
    found = judged(keeper, cookie)
    assert found.status == 401 and found.why.startswith("the session has ended; ")
    tokens.pop()
    clock.now_s += 12 * 3600 - 1
    assert isinstance(judged(keeper, cookie), Caller)
    clock.now_s += 1
    assert isinstance(judged(keeper, cookie), Denial)


def test_wrong_tokens_are_slowed_down_and_right_ones_never(keeper, clock, caplog):
    caplog.set_level(logging.WARNING)
    wrong = [judged(keeper, f"Authorization: Bearer wrong-{n}") for n in range(WRONG_PER_S_MAX + 5)]
    assert [one.status for one in wrong] == [401] * WRONG_PER_S_MAX + [429] * 5
    assert wrong[-1].headers["Retry-After"] == str(RETRY_AFTER_S)
    assert keeper.enter("wrong", "10.0.0.9").status == 429
    assert judged(keeper, f"Authorization: Bearer {TOKEN}").right is Right.TOKEN
    assert isinstance(keeper.enter(TOKEN, "10.0.0.9"), str)
    assert judged(keeper).status == 401  # who shows nothing does not guess
    clock.now_s += RETRY_AFTER_S
    assert judged(keeper, "Authorization: Bearer wrong").status == 401
    (line,) = caplog.messages
    assert line.startswith("admin: a request from 10.0.0.9 has a wrong token")
    assert "wrong-0" not in line
