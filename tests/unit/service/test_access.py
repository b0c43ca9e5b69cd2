"""Who may change something at the admin address."""

import pytest

from actors.service.access import denial
from actors.system.doorkeeper import Caller, Right


@pytest.mark.parametrize("has_actions", [False, True])
def test_the_commands_may_always_and_who_shows_nothing_never(has_actions):
    assert denial(Caller(Right.SECRET), lambda: has_actions) is None
    found = denial(Caller(Right.NONE), lambda: has_actions)
    assert found.status == 401 and found.headers == {"WWW-Authenticate": "Bearer"}
    assert "service.json" in found.why and "admin.actions" in found.why


@pytest.mark.parametrize("right", [Right.TOKEN, Right.SESSION])
def test_who_has_the_token_may_if_the_settings_say_so(right):
    assert denial(Caller(right), lambda: True) is None
    found = denial(Caller(right), lambda: False)
    assert found.status == 403 and found.why.startswith("admin.actions = false: ")
