"""The states of a worker: what the table has can happen, and everything else is refused."""

import asyncio
from collections import deque
from types import SimpleNamespace

import pytest

from actors.supervision.protocol import Pong, Reply
from actors.supervision.restarts import ChildSpec, Exit
from actors.supervision.states import NEXT, Event, State
from actors.supervision.worker import Worker


def worker_in(state):
    host = SimpleNamespace(
        name="test", options=None, exits=deque(), restarts=deque(), told=lambda worker: None
    )
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


def test_the_log_lines_that_a_child_dropped_are_not_forgotten_when_it_dies():
    async def happen():
        worker = worker_in(State.RUNNING)
        worker._heard(Pong(1, b"", log_lines_dropped=3))
        worker._heard(Pong(2, b"", log_lines_dropped=7))
        assert worker.log_lines_dropped == 7
        worker._exited(Exit(signal="SIGKILL"))
        assert worker.log_lines_dropped == 7
        worker._heard(Pong(3, b"", log_lines_dropped=2))
        assert worker.log_lines_dropped == 9

    asyncio.run(happen())


def test_the_next_incarnation_gets_the_stats_that_an_earlier_one_told_last(monkeypatch):
    async def happen():
        started = []
        monkeypatch.setattr("actors.supervision.worker.ChildProcess", lambda args, *_: started.append(args))
        worker = worker_in(State.STOPPED)
        for told in (b"one", None, b"three", None):
            starting = asyncio.ensure_future(worker.start())
            await asyncio.sleep(0)
            if told:
                worker._heard(Pong(1, told))
            starting.cancel()
            worker.state = State.STOPPED
        assert [one.last_stats for one in started] == [b"", b"one", b"one", b"three"]

    asyncio.run(happen())


def test_every_state_is_reached_and_left():
    assert {before for before, _ in NEXT} == set(NEXT.values()) == set(State)


def test_a_call_gets_the_reply_with_its_number_or_none():
    async def happen():
        worker, sent = worker_in(State.RUNNING), []
        worker.process = SimpleNamespace(send=sent.append, pid=1)
        one, two = (asyncio.ensure_future(worker.call(request, 60)) for request in (b"1", b"2"))
        await asyncio.sleep(0)
        for call in reversed(sent):
            worker._heard(Reply(call.number, b"to " + call.request))
        assert (await one, await two) == (b"to 1", b"to 2")
        assert await worker.call(b"3", 0.01) is None  # no reply in time
        worker._heard(Reply(sent[-1].number, b"too late"))
        asked = asyncio.ensure_future(worker.call(b"4", 60))
        await asyncio.sleep(0)
        worker._exited(Exit(signal="SIGKILL"))
        assert await asked is None
        assert await worker.call(b"5", 60) is None

    asyncio.run(happen())
