"""An alarm calls once at the time that was set last."""

import pytest

from actors.supervision.alarm import Alarm


class Host:
    """Time that passes when a test says so. `started`: how many timers were started."""

    def __init__(self):
        self.now_ms = 1000
        self.timers = []
        self.started = 0

    def monotonic_ms(self):
        return self.now_ms

    def call_later(self, delay_s, call):
        self.started += 1
        timer = HostTimer(self, self.now_ms + delay_s * 1000, call)
        self.timers.append(timer)
        return timer

    def pass_to(self, now_ms):
        while due := [one for one in self.timers if one.at_ms <= now_ms]:
            first = min(due, key=lambda one: one.at_ms)
            self.timers.remove(first)
            self.now_ms = max(self.now_ms, first.at_ms)
            first.call()
        self.now_ms = now_ms


class HostTimer:
    def __init__(self, host, at_ms, call):
        self.host, self.at_ms, self.call = host, at_ms, call

    def cancel(self):
        self.host.timers.remove(self)


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def rung(host):
    return []


@pytest.fixture
def alarm(host, rung):
    return Alarm(host, lambda: rung.append(host.now_ms))


def test_it_calls_once_at_its_time(host, rung, alarm):
    alarm.set(1300)
    host.pass_to(1299)
    assert rung == []
    host.pass_to(5000)
    assert rung == [1300]


@pytest.mark.parametrize("moved_ms", [1100, 1900])
def test_it_calls_at_the_time_to_which_it_was_moved(host, rung, alarm, moved_ms):
    alarm.set(1300)
    alarm.set(moved_ms)
    host.pass_to(5000)
    assert rung == [moved_ms]


def test_a_time_that_was_taken_back_calls_nobody(host, rung, alarm):
    alarm.set(1300)
    alarm.set(None)
    host.pass_to(5000)
    assert rung == []


def test_a_time_after_one_that_was_taken_back_needs_no_timer_of_its_own(host, rung, alarm):
    alarm.set(1300)
    alarm.set(None)
    alarm.set(1400)
    assert host.started == 1
    host.pass_to(5000)
    assert rung == [1400]
    assert host.timers == []


def test_a_time_that_is_over_calls_as_soon_as_may_be(host, rung, alarm):
    alarm.set(900)
    assert rung == []  # not within `set`
    host.pass_to(1000)
    assert rung == [1000]


def test_moving_a_time_out_again_and_again_starts_no_more_timers(host, rung, alarm):
    for due_ms in range(1300, 1400):
        alarm.set(due_ms)
    assert host.started == 1
    host.pass_to(5000)
    assert rung == [1399]
    assert host.started == 2


def test_it_may_be_set_again_by_its_own_call(host):
    rung = []

    def call():
        rung.append(host.now_ms)
        if len(rung) < 3:
            alarm.set(host.now_ms + 100)

    alarm = Alarm(host, call)
    alarm.set(1100)
    host.pass_to(5000)
    assert rung == [1100, 1200, 1300]


def test_one_whose_times_are_mostly_taken_back_wakes_nobody_for_nothing(host, rung):
    alarm = Alarm(host, lambda: rung.append(host.now_ms), cancels=True)
    for _ in range(3):
        alarm.set(host.now_ms + 5)
        alarm.set(None)
        assert host.timers == []
    alarm.set(1300)
    host.pass_to(1300)
    assert rung == [1300]
