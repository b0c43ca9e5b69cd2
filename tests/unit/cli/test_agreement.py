"""Queue, ledgers and client: what is lost, doubled or untold is found, and what only moves is not."""

import random

import pytest

from actors.cli.agreement import Bounds, Sample, Told, Verdict, bounds, compare, judge, narrowed, sample_of

K = 1_000_000  # what the ledgers had counted when the queue began


def quiet(put: int, counted: int) -> Bounds:
    """The bounds of two samples between which nothing moves."""
    one = Sample(put, 0, counted, (7,))
    return bounds(one, one)


def test_where_nothing_moves_one_lost_and_one_doubled_message_is_found():
    before = quiet(500, K + 500)
    assert before == Bounds(K, K)
    assert judge(before, quiet(900, K + 900)) == Verdict(lost=0, doubled=0, unsure=0)
    assert judge(before, quiet(900, K + 899)) == Verdict(lost=1, doubled=0, unsure=0)
    assert judge(before, quiet(900, K + 901)) == Verdict(lost=0, doubled=1, unsure=0)


class Load:
    """A service under load: messages are put, counted and finished, and the status is read in pieces."""

    def __init__(self, seed: int):
        self.chance = random.Random(seed)
        self.put = self.counted = self.finished = 0
        self.off = 0  # messages counted too often, or lost if below 0

    def go_on(self) -> None:
        for _ in range(self.chance.randrange(30)):
            match self.chance.randrange(3):
                case 0:
                    self.put += self.chance.randrange(5)
                case 1:
                    self.counted = self.chance.randint(self.counted, self.put)
                case _:
                    self.finished = self.chance.randint(self.finished, self.counted)

    def sample(self) -> Sample:
        self.go_on()
        put, unfinished = self.put, self.put - self.finished
        self.go_on()
        return Sample(put, unfinished, K + self.counted + self.off, (7,))

    def measured(self) -> Bounds:
        found = None
        for _ in range(20):
            found = narrowed(found, bounds(self.sample(), self.sample()))
        return found


@pytest.mark.parametrize("seed", range(50))
def test_under_a_load_that_never_pauses_nothing_is_accused_and_what_is_wrong_is_found(seed):
    load = Load(seed)
    before = load.measured()
    assert before.low <= K <= before.high
    fine = judge(before, load.measured())
    assert (fine.lost, fine.doubled) == (0, 0)
    load.off = fine.unsure + 500
    assert judge(before, load.measured()).doubled > 0
    load.off = -load.off
    assert judge(before, load.measured()).lost > 0


def status(*, why=(), others=0, nsqds=None):
    nsqd = {"address": "a:1", "messages": 10, "unfinished": 3, "started_s": 7}
    return {
        "nsq": {"nsqds": [nsqd, nsqd] if nsqds is None else nsqds, "others_on_channel": others},
        "plays": {"counted": 5, "dead_lettered": 2, "redelivered": 99},
        "why_not_caught_up": list(why),
    }


def test_a_sample_adds_up_the_nsqds_and_counts_dead_letters_too():
    assert sample_of(status(why=["3 messages in flight"])) == Sample(20, 6, 7, (7, 7))


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (status(why=["counter-0 did not answer"]), "counter-0 did not answer"),
        (status(others=1), "consumers of others on our channel: 1, expected none"),
        (status(nsqds=[]), "no nsqd is known"),
        (status(nsqds=[{"address": "a:1", "messages": None}]), "nsqd a:1 does not answer GET /stats"),
    ],
)
def test_what_can_not_be_compared_says_why(found, why):
    assert str(sample_of(found)).startswith(why)


def test_the_client_may_have_what_was_published_up_to_what_is_counted():
    before, after = {"a": (10, 8), "b": (5, 0)}, {"a": (12, 11), "b": (5, 5), "c": (1, 1)}
    assert compare(before, {"a": 8}, after) == Told(2, 0, 0)
    assert compare(before, {"a": 12, "b": 5, "c": 1}, after) == Told(3, 0, 0)
    assert compare(before, {"a": 7}, after) == Told(2, 1, 0)
    assert compare(before, {}, after) == Told(2, 8, 0)
    assert compare(before, {"a": 13, "d": 4}, after) == Told(3, 0, 5)
