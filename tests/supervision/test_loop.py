"""The plain loop: its descriptors, timers and signals work as asyncio's do."""

import asyncio
import os
import signal
import socket
import time

import pytest

from actors.supervision.loop import PlainLoop, run_at_once, until_next


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


def test_timers_come_in_the_order_of_their_times_not_before_and_not_when_cancelled():
    loop, came = PlainLoop(), []
    begun_s = time.monotonic()
    loop.call_later(0.04, lambda: (came.append("last"), loop.stop()))
    loop.call_later(0.02, lambda: came.append("second"))
    cancelled = loop.call_later(0.01, lambda: came.append("never"))
    loop.call_later(0.0, lambda: came.append("first"))
    cancelled.cancel()
    loop.run_forever()
    assert came == ["first", "second", "last"]
    assert time.monotonic() - begun_s >= 0.04


def test_a_timer_that_is_cancelled_by_the_one_before_it_does_not_come():
    loop, came = PlainLoop(), []
    timers = []

    def cancel():
        timers[0].cancel()

    loop.call_later(0.0, cancel)
    timers.append(loop.call_later(0.0, lambda: came.append("second")))
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert came == []


@pytest.mark.parametrize(
    ("period", "now", "left"), [(1.0, 5.25, 0.75), (1000, 5250, 750), (1.0, 5.0, 1.0), (0.5, 7.999, 0.501)]
)
def test_timers_of_one_period_fall_due_together_and_none_does_twice(period, now, left):
    assert until_next(period, now) == pytest.approx(left)


def test_a_descriptor_is_watched_for_reading_and_writing_apart(ends):
    loop, came = PlainLoop(), []
    one, other = ends

    def read():
        came.append(one.recv(10))
        loop.stop()

    loop.add_reader(one.fileno(), read)
    loop.add_writer(one.fileno(), lambda: (came.append("writable"), loop.remove_writer(one.fileno())))
    loop.call_later(0.01, lambda: other.send(b"x"))
    loop.run_forever()
    assert came == ["writable", b"x"]
    loop.remove_reader(one.fileno())
    loop.remove_reader(one.fileno())  # not there: nothing to do
    loop.remove_writer(one.fileno())
    assert not loop._calls


def test_what_was_removed_in_the_same_round_is_not_called(ends):
    loop, came = PlainLoop(), []
    one, other = ends

    def take(mine, others):
        came.append(mine.fileno())
        loop.remove_reader(others.fileno())
        loop.stop()

    loop.add_reader(one.fileno(), lambda: take(one, other))
    loop.add_reader(other.fileno(), lambda: take(other, one))
    one.send(b"x")
    other.send(b"x")
    loop.run_forever()
    assert len(came) == 1


def test_a_signal_is_taken_in_turn_with_everything_else():
    loop, came = PlainLoop(), []
    before = signal.getsignal(signal.SIGUSR1)
    try:
        loop.add_signal_handler(signal.SIGUSR1, lambda: (came.append("signal"), loop.stop()))

        def kill():
            os.kill(os.getpid(), signal.SIGUSR1)
            came.append("killed")

        loop.call_later(0.0, kill)
        loop.run_forever()
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)
        for end in loop._wakeup:
            end.close()
    assert came == ["killed", "signal"]


def test_what_a_call_raises_leaves_the_loop():
    loop = PlainLoop()
    loop.call_later(0.0, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        loop.run_forever()


def test_a_coroutine_that_waits_for_nothing_is_run_and_one_that_waits_is_refused():
    async def at_once():
        return 7

    async def waits():
        await asyncio.sleep(0)

    assert run_at_once(at_once()) == PlainLoop().run_until_complete(at_once()) == 7
    with pytest.raises(RuntimeError, match="waits for something, and there is no asyncio loop"):
        run_at_once(waits())
