"""How often an address is tried, in virtual time."""

import asyncio
import itertools

from actors.sources.limits import Limits
from actors.sources.places import Place
from actors.sources.route import Route
from tests.support.virtual_time import run_virtually


class Owner:
    """Counts failures and connections."""

    def __init__(self):
        self.failures, self.found_s = [], []

    def failed(self, route, reason):
        self.failures.append((asyncio.get_running_loop().time(), reason))

    def found(self, route, conn, place):
        self.found_s.append(asyncio.get_running_loop().time())


class Conn:
    """A connection that lasts for some seconds."""

    def __init__(self, lasts_s):
        self.ended = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(lasts_s, self.ended.set_result, None)


class RouteTo(Route):
    """A route whose attempts are those of the test: how long a connection lasts, or an error."""

    def __init__(self, owner, *attempts):
        super().__init__("127.0.0.1:4150", owner, 5)
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
    assert tried_s[:3] == [0, 0.25, 0.75]
    waits_s = [after - before for before, after in itertools.pairwise(tried_s)]
    assert max(waits_s) == waits_s[-1] == 4


def test_an_nsqd_that_hangs_up_at_once_is_not_hammered():
    assert len(run_for(60, 0.01).found_s) < 25


def test_after_a_steady_connection_the_first_attempt_comes_soon():
    owner = run_for(200, *[OSError("refused")] * 10, 100, 1000)
    first_s, second_s = owner.found_s
    assert second_s - first_s == 100 + 0.25


def test_limits_are_what_nsqd_says_or_half():
    limits = Limits()
    limits.learn(b"E_BAD_MESSAGE MPUB message too big 1100 > 1024")
    limits.learn(b"E_BAD_BODY MPUB body too big 5000 > 4096")
    assert (limits.message_bytes, limits.body_bytes) == (1024, 4096)
    limits.learn(b"E_BAD_MESSAGE of some other kind")
    limits.learn(b"E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight")
    limits.learn(b"")
    assert (limits.message_bytes, limits.body_bytes) == (512, 4096)
