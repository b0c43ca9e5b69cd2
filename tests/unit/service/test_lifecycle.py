"""What a service says when it can't start."""

import pytest

from actors.service.lifecycle import _why_not_started
from actors.supervision.worker import StartFailed


@pytest.mark.parametrize(("logged", "expected"), [(True, "; its own log lines above say why"), (False, "")])
def test_a_child_that_logged_nothing_is_not_said_to_have_logged_why_it_ended(logged, expected):
    error = StartFailed("counter-0#1 was not ready after 60 s")
    error.logged = logged
    assert _why_not_started(error) == f"counter-0#1 was not ready after 60 s{expected}"
