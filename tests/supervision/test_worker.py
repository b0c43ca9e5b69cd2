"""The states of a worker: what the table has can happen, and everything else is refused."""

import asyncio
from collections import deque
from types import SimpleNamespace

import pytest

from actors.supervision.restarts import ChildSpec
from actors.supervision.worker import NEXT, Event, State, Worker


def worker_in(state):
    host = SimpleNamespace(name="test", options=None, exits=deque())
    worker = Worker(ChildSpec("one", "module:Class"), host, lambda worker, exit: None)
    worker.state = state
    return worker


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_what_the_table_has_happens_and_everything_else_is_refused(state, event):
    async def happen():
        worker = worker_in(state)
        if (state, event) in NEXT:
            assert worker._move(event) is worker.state is NEXT[state, event]
        else:
            with pytest.raises(AssertionError, match=f"{event} can't happen to one#0, which is {state}"):
                worker._move(event)
            assert worker.state is state

    asyncio.run(happen())


def test_every_state_is_reached_and_left():
    assert {before for before, _ in NEXT} == set(NEXT.values()) == set(State)
