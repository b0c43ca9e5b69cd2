"""The drill's proof: it begins when all that the queue acknowledged was read, and not before."""

from types import SimpleNamespace

import pytest

from actors.cli.launch import Service


@pytest.mark.parametrize(
    ("counted", "caught_up", "done"),
    [(1000, True, False), (1499, True, False), (1500, False, False), (1500, True, True), (1520, True, True)],
)
def test_plays_that_wait_on_the_queue_are_waited_for_before_any_is_called_lost(counted, caught_up, done):
    status = {"plays": {"counted": counted}, "caught_up": caught_up}
    service = SimpleNamespace(status=lambda: status)
    assert Service.caught_up(service, 1000 + 500) == (status if done else None)
