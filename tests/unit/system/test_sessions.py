"""The cookie of a session: it ends, it is of one listener and one token, and nobody else can make one."""

import pytest

from actors.system import sessions

TOKEN, NAME, NOW_S = "a-token-of-the-test", "playtally_admin_8081", 1_800_000_000.5
RANDOM = "0123456789abcdef" * 2
VALUE = sessions.begun(TOKEN, NAME, NOW_S, RANDOM)


def test_a_session_holds_for_twelve_hours():
    assert sessions.LASTS_S == 12 * 3600
    for after_s in (0, 1, sessions.LASTS_S - 1):
        assert sessions.holds(VALUE, TOKEN, NAME, NOW_S + after_s)
    for after_s in (sessions.LASTS_S, sessions.LASTS_S + 1, -2):
        assert not sessions.holds(VALUE, TOKEN, NAME, NOW_S + after_s)


def test_another_token_and_another_listener_do_not_take_it():
    assert not sessions.holds(VALUE, TOKEN + "x", NAME, NOW_S)
    assert not sessions.holds(VALUE, TOKEN, "playtally_client_8081", NOW_S)
    assert not sessions.holds(VALUE, TOKEN, "playtally_admin_8082", NOW_S)


def test_the_token_is_not_in_it():
    assert TOKEN not in VALUE
    assert sessions.begun(TOKEN, NAME, NOW_S, RANDOM[::-1]) != VALUE


end, random_hex, signature = VALUE.split(".")


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "..",
        TOKEN,
        VALUE[:-1],
        VALUE + "0",
        VALUE + "\n",
        VALUE.upper(),
        f"{int(end) + 1}.{random_hex}.{signature}",
        f"{end}.{random_hex[::-1]}.{signature}",
        f"{end}.{random_hex}.{'0' * 64}",
        f"{end}.{random_hex}.{'é' * 64}",
        f"٣.{random_hex}.{signature}",
        f"{'9' * 5000}.{random_hex}.{signature}",
    ],
)
def test_a_forged_one_does_not_hold(value):
    assert not sessions.holds(value, TOKEN, NAME, NOW_S)


def test_the_values_of_a_cookie_are_found_among_others():
    assert sessions.values_of("a=1; b=2;c = 3 ;b=4", "b") == ["2", "4"]
    assert sessions.values_of("a=1; b=2;c = 3 ;b=4", "c") == ["3"]
    assert sessions.values_of("ab=1; =; b; ;;x", "a") == []
    assert sessions.values_of("b", "b") == [""]


def test_no_script_and_no_other_site_sends_it():
    assert sessions.set_cookie("n", "v", False) == "n=v; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"
    assert sessions.set_cookie("n", "v", True).endswith("; Secure")
    assert "Max-Age=0;" in sessions.set_cookie("n", "", False, 0)
