"""How often an address is tried, in virtual time."""

import asyncio
import itertools
from random import Random

from actors.sources.limits import Limits
from actors.sources.places import Place
from actors.sources.route import JITTER, NO_ANSWER_RETRY_S, Route
from tests.support.virtual_time import run_virtually


class Owner:
    """Counts failures and connections."""

    def __init__(self):
        self.failures, self.found_s = [], []

    def failed(self, route, reason):
        self.failures.append((asyncio.get_running_loop().time(), reason))

    async def ask(self, route):
        """Ask nothing."""

    def found(self, route, conn, place):
        self.found_s.append(asyncio.get_running_loop().time())


class Conn:
    """A connection that lasts for some seconds."""

    gave_no_answer = False

    def __init__(self, lasts_s):
        self.ended = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(lasts_s, self.ended.set_result, None)


class RouteTo(Route):
    """A route whose attempts are those of the test: how long a connection lasts, or an error."""

    def __init__(self, owner, *attempts):
        super().__init__("127.0.0.1:4150", owner, 5, random=Random(1))
        self.attempts = list(attempts)

    async def _open(self):
        attempt = self.attempts.pop(0) if len(self.attempts) > 1 else self.attempts[0]
        if isinstance(attempt, OSError):
            raise attempt
        return Conn(attempt)

    async def _place_of(self, conn):
        return Place("here", frozenset())


def run_for(seconds, *attempts):
    async def scene():
        owner = Owner()
        task = asyncio.ensure_future(RouteTo(owner, *attempts).run())
        await asyncio.sleep(seconds)
        task.cancel()
        return owner

    return run_virtually(scene)


def test_an_address_with_no_nsqd_is_tried_soon_and_then_every_few_seconds_for_ever():
    tried_s = [at_s for at_s, _ in run_for(3600, OSError("refused")).failures]
    waits_s = [after - before for before, after in itertools.pairwise(tried_s)]
    for wait_s, least_s in zip(waits_s, (1, 2, 4), strict=False):
        assert least_s <= wait_s <= (1 + JITTER) * least_s
    assert all(4 <= wait_s <= 5 for wait_s in waits_s[2:])
    assert len({round(wait_s, 3) for wait_s in waits_s[2:100]}) > 50, "they differ"


def test_an_nsqd_that_hangs_up_at_once_is_not_hammered():
    assert len(run_for(60, 0.01).found_s) < 18


def test_after_a_steady_connection_the_first_attempt_comes_soon():
    owner = run_for(200, *[OSError("refused")] * 10, 100, 1000)
    first_s, second_s = owner.found_s
    assert 100 + 1 <= second_s - first_s <= 100 + 1 + JITTER


def test_limits_are_what_nsqd_says_or_half():
    limits = Limits()
    limits.learn(b"E_BAD_MESSAGE MPUB message too big 1100 > 1024")
    limits.learn(b"E_BAD_BODY MPUB body too big 5000 > 4096")
    assert (limits.message_bytes, limits.body_bytes) == (1024, 4096)
    limits.learn(b"E_BAD_MESSAGE of some other kind")
    limits.learn(b"E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight")
    limits.learn(b"")
    assert (limits.message_bytes, limits.body_bytes) == (512, 4096)


def test_an_nsqd_that_gives_no_answers_is_tried_seldom(monkeypatch):
    """Its messages, which nobody can finish, take the place of other nsqds' while it is connected."""
    monkeypatch.setattr(Conn, "gave_no_answer", True)
    first_s, second_s, *_ = run_for(200, 20).found_s
    assert NO_ANSWER_RETRY_S <= second_s - first_s - 20 <= NO_ANSWER_RETRY_S * (1 + JITTER)
