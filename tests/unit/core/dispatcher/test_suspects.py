"""A client that fails on some videos without saying so: it gives no answer, or a 5xx. The others go on."""

import collections
import itertools

import pytest

from actors.core.dispatcher import suspects
from actors.core.dispatcher.attempts import Circuit
from actors.core.dispatcher.halving import LONE, SEVERAL
from actors.core.dispatcher.numbered_keys import SERVER_ERRORS_MAX
from actors.core.dispatcher.rule import Rule
from actors.core.dispatcher.suspects import FAILURES_ALONE_MAX, Suspects
from tests.support.refusing_client import (
    ACCEPTED,
    BROKEN,
    BUSY,
    CONFLICT,
    FORBIDDEN,
    HOUR_MS,
    MINUTE_MS,
    TOO_LARGE,
    UNKNOWN,
    UNPROCESSABLE,
    UNREACHABLE,
    World,
    videos,
)

TWENTY = videos(20)
MORE = videos(200)[20:]
FAILURES = pytest.mark.parametrize("failure", [UNKNOWN, BROKEN, FORBIDDEN], ids=["no answer", "5xx", "403"])
ANY_FAILURES = pytest.mark.parametrize(
    "failure", [UNKNOWN, BROKEN, FORBIDDEN, BUSY], ids=["no answer", "5xx", "403", "503"]
)


def fails_on(*wrong, failure, **options):
    """A world whose client fails on these videos."""
    world = World(**options)
    world.refuses(*wrong, answer=failure)
    return world


def knows(wrong, failure, **options):
    """A world whose client fails on this video, and which has found that out."""
    world = fails_on(wrong, failure=failure, **options)
    for video in MORE[:100]:
        world.play(wrong, video)
        world.run(1000)
    assert world.refused_now() == [wrong]
    return world


# Others go on


@pytest.mark.parametrize("in_flight_max", [1, 8])
@ANY_FAILURES
def test_a_client_that_fails_on_one_video_has_the_others_soon(failure, in_flight_max):
    wrong = TWENTY[0]
    world = fails_on(wrong, failure=failure, in_flight_max=in_flight_max)
    world.play(wrong)
    world.run(5 * MINUTE_MS)  # nothing else is played: the circuit is open
    for video in MORE:
        world.play(video)
        world.run(20_000)
        assert world.totals.get(video) == 1
    assert wrong not in world.totals


@pytest.mark.parametrize("in_flight_max", [1, 8])
@FAILURES
def test_once_the_video_is_known_the_others_do_not_wait_at_all(failure, in_flight_max):
    wrong = TWENTY[0]
    world = knows(wrong, failure=failure, in_flight_max=in_flight_max)
    for video in MORE[100:]:
        world.play(wrong, video)
        world.run(1000)
        assert world.told_ms[video] <= world.now_ms - 1000 + 20
    assert world.rules.attempts.circuit is Circuit.CLOSED


@pytest.mark.parametrize("in_flight_max", [1, 8])
@FAILURES
def test_several_such_videos_are_found(failure, in_flight_max):
    wrong = TWENTY[::4]
    world = fails_on(*wrong, failure=failure, in_flight_max=in_flight_max)
    for number in range(10):
        world.play(*TWENTY)
        for video in MORE[number * 10 : number * 10 + 10]:
            world.play(video)
            world.run(10_000)
    world.run(5 * MINUTE_MS)
    assert sorted(world.refused_now()) == wrong
    assert world.totals == dict.fromkeys(set(TWENTY) - set(wrong), 10) | dict.fromkeys(MORE[:100], 1)
    assert world.rules.attempts.circuit is Circuit.CLOSED


@FAILURES
def test_a_video_that_is_taken_at_last_has_its_newest_total_and_is_normal_again(failure):
    wrong = TWENTY[0]
    world = knows(wrong, failure=failure)
    assert world.refused[wrong].answer == failure.words
    world.refuses()
    world.run(2 * MINUTE_MS)
    assert world.totals[wrong] == 100
    assert world.refused == {} and not world.batches
    before = len(world.attempts)
    world.play(*TWENTY)
    world.run(1000)
    assert [one.width for one in world.attempts[before:]] == [20]


@FAILURES
def test_it_is_tried_ever_more_seldom(failure):
    wrong = TWENTY[0]
    world = knows(wrong, failure=failure)
    before = len(world.attempts)
    world.run(24 * HOUR_MS)
    tries = world.attempts[before:]
    assert all(one.batch.videos == [wrong] for one in tries)
    assert 24 <= len(tries) <= 34
    # Without an answer the client may have it: then it goes again as it was.
    assert len({one.batch.key for one in tries}) == (1 if failure is UNKNOWN else len(tries))


@FAILURES
def test_no_deadline_waits_for_a_try(failure):
    hot = MORE[100:120]
    for ahead_ms in range(0, 2000, 200):
        world = knows(TWENTY[0], failure=failure, latency_ms=400, rule=Rule(deadline_ms=2000))
        world.hot(*hot)
        world.run(MINUTE_MS // 2)  # without an answer, a try is in doubt from now on
        tries = world.refused[TWENTY[0]].attempts
        next_ms = world.rules.refused.soonest_ms(world.now_ms)
        assert tries > 1 and next_ms > world.now_ms + 2000
        world.run(next_ms - world.now_ms - ahead_ms)
        latest_ms = world.now_ms + 2000
        world.play(*hot)
        world.run(10_000)
        assert {world.totals[video] for video in hot} == {101}
        assert max(world.told_ms[video] for video in hot) + 400 <= latest_ms
        assert world.refused[TWENTY[0]].attempts > tries


@FAILURES
def test_a_failed_try_of_a_new_total_is_not_stored_as_a_republish(failure):
    world = knows(TWENTY[0], failure=failure)
    world.run(HOUR_MS)
    assert world.refused[TWENTY[0]].attempts > 1
    assert not any(one.again for one in world.new_refused)


def test_a_restart_goes_on_counting_the_5xx_to_a_try_that_the_client_may_have():
    world = knows(TWENTY[0], failure=UNKNOWN)
    world.run(2 * MINUTE_MS)
    before = len(world.attempts)
    world.refuses(TWENTY[0], answer=BROKEN)
    while len(world.attempts) < before + SERVER_ERRORS_MAX - 1:
        world.run(1000)
    world.start()
    world.run(HOUR_MS)
    keys = [one.batch.key for one in world.attempts[before - 1 :]]
    assert set(keys[: SERVER_ERRORS_MAX + 1]) == {keys[0]}
    assert keys[0] not in keys[SERVER_ERRORS_MAX + 1 :] != []


@FAILURES
def test_hot_videos_are_in_time_once_it_is_known(failure):
    hot, wrong = videos(40)[20:], TWENTY[0]
    world = World(latency_ms=80, rule=Rule(deadline_ms=2000))
    world.hot(*hot)
    world.refuses(wrong, answer=failure)
    world.play(*TWENTY)
    for _ in range(40):
        world.play(*hot)
        world.run(1700)
    late = world.rules.stats().late
    for _ in range(100):
        world.play(*hot, *TWENTY)
        world.run(1700)
    assert world.rules.stats().late == late
    assert world.refused_now() == [wrong]


# Many at once


def longest_wait_ms(world, good, for_ms, gap_ms=1000):
    """Play one good video after the other. Returns how long one waited at most."""
    played_ms = {}
    for _ in range(0, for_ms, gap_ms):
        video = next(good)
        played_ms[video] = world.now_ms
        world.play(video)
        world.run(gap_ms)
    return max(world.told_ms.get(video, world.now_ms) - at_ms for video, at_ms in played_ms.items())


def good_videos():
    return (number.to_bytes(16, "big") for number in itertools.count(10_000_000))


@ANY_FAILURES
def test_a_restart_that_remembers_many_such_videos_holds_up_no_other(failure):
    wrong, good = videos(20), good_videos()
    world = fails_on(*wrong, failure=failure, in_flight_max=8)
    for video in wrong:
        world.play(video)
        longest_wait_ms(world, good, 60_000)
    assert sorted(world.refused) == wrong
    world.start()
    assert longest_wait_ms(world, good, 10 * MINUTE_MS, 3000) < 100
    assert world.rules.attempts.circuit is Circuit.CLOSED


@ANY_FAILURES
def test_after_an_outage_beside_such_videos_everything_goes_on(failure):
    wrong, good = iter(videos(100)), good_videos()
    world = World(in_flight_max=8)
    bad, down = set(), []
    world.answer = lambda batch: UNREACHABLE if down else failure if bad & set(batch.videos) else ACCEPTED
    for minute in range(8):
        down[:] = [True] * (minute == 2)
        for _ in range(6):
            bad.add(one := next(wrong))
            world.play(one)
            longest_wait_ms(world, good, 10_000, 500)
    bad.clear()
    world.do(world.rules.request_republish("asked for", b"", world.now_ms))
    world.run(5 * MINUTE_MS)
    assert all(total == 1 for total in world.totals.values()) and world.refused == {}
    assert len(world.totals) == 48 + 8 * 6 * 20


@pytest.mark.parametrize("failure", [UNPROCESSABLE, UNKNOWN, BROKEN], ids=["422", "no answer", "5xx"])
def test_a_burst_of_such_videos_does_not_keep_later_ones_waiting(failure):
    wrong, good = videos(100), good_videos()
    world = fails_on(*wrong, failure=failure, in_flight_max=8)
    world.play(*wrong)
    assert longest_wait_ms(world, good, 10 * MINUTE_MS) < MINUTE_MS
    assert sorted(world.refused) == wrong
    assert longest_wait_ms(world, good, MINUTE_MS) < 100


def test_many_such_videos_that_are_found_at_once_are_no_client_that_refuses_everything():
    wrong, good = TWENTY[: LONE * SEVERAL + 1], good_videos()
    world = fails_on(*wrong, failure=UNKNOWN, in_flight_max=20, latency_ms=50)
    for video in wrong:  # each leaves in a batch of its own, before the first has failed
        world.play(video)
        world.run(2)
    for _ in range(10):
        world.play(next(good))
        world.run(1000)
        assert world.rules.attempts.circuit is Circuit.CLOSED
    assert sorted(world.refused_now()) == wrong
    assert not any(one.unsure for one in world.new_refused)


def test_such_a_video_is_found_too_while_the_client_refuses_all_others():
    wrong, others = TWENTY[0], TWENTY[1:8]
    world = World()
    world.answer = lambda batch: UNKNOWN if wrong in batch.videos else UNPROCESSABLE
    world.play(wrong)
    for video in others:
        world.play(video)
        world.run(5000)
    assert sorted(world.refused_now()) == [wrong, *others]


def test_while_the_circuit_is_open_probes_are_of_new_videos_and_of_those_that_failed_in_turn():
    world = World()
    world.answer = lambda batch: FORBIDDEN
    for video in TWENTY:
        world.play(video)
        world.run(1)
    world.run(MINUTE_MS)
    places = [TWENTY.index(video) for one in world.attempts for video in one.batch.videos]
    assert places[:9] == [0, 19, 0, 18, 1, 17, 19, 16, 2]


@pytest.mark.parametrize(
    "failure", [BUSY, BUSY._replace(words="429 No", server_error=False)], ids=["503", "429"]
)
def test_a_client_that_is_busy_for_one_video_alone_has_the_others_soon(failure):
    wrong, good = TWENTY[0], good_videos()
    world = fails_on(wrong, failure=failure, in_flight_max=8)
    world.play(*TWENTY)
    assert longest_wait_ms(world, good, 2 * MINUTE_MS) < 10_000
    assert world.refused_now() == [wrong]
    assert all(world.totals[video] == 1 for video in TWENTY[1:])


def test_a_413_for_one_video_leaves_batches_as_wide_as_they_were():
    world = World()
    world.refuses(TWENTY[0], answer=TOO_LARGE)
    world.play(*TWENTY)
    world.run(1000)
    assert world.refused_now() == [TWENTY[0]]
    before = len(world.attempts)
    world.play(*MORE[:60])
    world.run(1000)
    assert [one.width for one in world.attempts[before:]] == [20, 20, 20]


@FAILURES
def test_a_drain_does_not_wait_for_such_a_video(failure):
    wrong, good = TWENTY[0], good_videos()
    world = fails_on(wrong, failure=failure)
    world.play(wrong)
    longest_wait_ms(world, good, 2 * MINUTE_MS)
    assert world.refused_now() == [wrong]
    world.play(wrong, TWENTY[1])
    world.do(world.rules.drain(world.now_ms))
    before = len(world.attempts)
    world.run(MINUTE_MS)
    assert world.rules.drained
    assert [one.batch.videos for one in world.attempts[before:]] == [[TWENTY[1]]]


# What must not change


@pytest.mark.parametrize("in_flight_max", [1, 8])
@pytest.mark.parametrize("failure", [UNKNOWN, BROKEN, FORBIDDEN, BUSY, UNREACHABLE], ids=str)
def test_an_outage_blames_no_video(failure, in_flight_max):
    world = World(in_flight_max=in_flight_max)
    for minutes in (1, 10, 60):
        world.answer = lambda batch: failure
        for _ in range(minutes):
            world.play(*videos(200))
            world.run(MINUTE_MS)
        assert world.rules.attempts.circuit is Circuit.OPEN
        world.answer = lambda batch: ACCEPTED
        world.run(MINUTE_MS)
        assert world.rules.attempts.circuit is Circuit.CLOSED
        assert all(world.totals[video] == world.counted(video) for video in videos(200))
    assert world.new_refused == []


def test_an_outage_costs_few_publishes_more_than_its_videos_need():
    world = World()
    world.play(*videos(100))
    world.answer = lambda batch: UNKNOWN
    world.run(10 * MINUTE_MS)
    probes = len(world.attempts)
    kept = len(world.batches)
    assert kept <= 12, "a new batch is tried after each of the others was"
    world.answer = lambda batch: ACCEPTED
    world.run(MINUTE_MS)
    assert len(world.attempts) - probes <= 100 // 20 + kept


def test_a_batch_without_an_answer_goes_again_first_and_unchanged():
    world = World()
    answers = iter([UNKNOWN] * 3)
    world.answer = lambda batch: next(answers, ACCEPTED)
    world.play(*TWENTY)
    world.run(15)
    world.play(*TWENTY, *MORE[:20])
    world.run(MINUTE_MS)
    first = world.attempts[0].batch
    assert [one.batch for one in world.attempts[:4]] == [first] * 4


def test_a_client_that_fails_now_and_then_has_no_video_blamed():
    chance = itertools.cycle([True] + [False] * 4)
    world = World(in_flight_max=8)
    world.answer = lambda batch: BROKEN if next(chance) else ACCEPTED
    for _ in range(500):
        world.play(*TWENTY, *MORE[:40])
        world.run(1000)
    assert world.new_refused == []
    assert {len(one.batch.entries) for one in world.attempts} == {20}


def test_that_a_batch_was_refused_for_its_content_is_no_proof_against_a_video_in_it():
    one, *rest = TWENTY[:4]
    fours, good, world = iter([BROKEN, UNPROCESSABLE]), good_videos(), World()
    world.answer = lambda batch: (
        ACCEPTED if one not in batch.videos else next(fours) if len(batch.entries) == 4 else UNKNOWN
    )
    world.play(one, *rest)
    for _ in range(30):
        world.run(1000)
        world.play(next(good))
    halves = [at for at, each in enumerate(world.attempts) if one in each.batch.videos and each.width == 2]
    between = [ACCEPTED in [it.answer for it in world.attempts[a:b]] for a, b in itertools.pairwise(halves)]
    assert between.count(True) == FAILURES_ALONE_MAX, "the client may have both videos of the half"


@pytest.mark.parametrize("batches", [1, 2])
def test_while_the_client_is_at_work_on_batches_and_takes_none_each_goes_again_as_it_was(batches):
    world, times = World(in_flight_max=2), collections.Counter()

    def answer(batch):
        times[batch.key] += 1
        return UNKNOWN if times[batch.key] % 2 else CONFLICT

    world.answer = answer
    for number in range(batches):
        world.play(*TWENTY[number * 10 : number * 10 + 10])
        world.run(5)
    world.run(10 * MINUTE_MS)
    assert len(times) == batches, "the client may have them"
    assert min(times.values()) > 2 * FAILURES_ALONE_MAX


def test_a_restart_in_doubt_sends_all_batches_first():
    world = World(in_flight_max=8)
    world.answer = lambda batch: UNKNOWN
    for video in MORE[:5]:
        world.play(video)
        world.run(10 * MINUTE_MS)
    stored = set(world.batches)
    assert len(stored) >= 5
    world.answer = lambda batch: ACCEPTED
    before = len(world.attempts)
    world.start()
    world.play(*TWENTY)
    world.run(MINUTE_MS)
    again = [one.batch.key for one in world.attempts[before:]][: len(stored)]
    assert set(again) == stored


# The memory


def test_a_video_is_blamed_only_if_the_client_took_a_later_attempt_each_time():
    suspects, (one, other, third) = Suspects(), TWENTY[:3]
    suspects.taken([third], 4)
    assert suspects.failed([one], 5) == (0, False)
    assert suspects.failed([one], 6) == (0, False), "nothing was taken since"
    suspects.taken([third], 8)
    assert suspects.failed([one], 9) == (1, True)
    assert suspects.failed([one], 10) == (1, False), "8 left before 9"
    suspects.taken([third], 12)
    assert suspects.failed([one, other], 13) == (2, True)
    suspects.taken([third], 15)
    assert suspects.failed([other], 16) == (1, True)
    suspects.taken([one], 21)
    assert one not in suspects and other in suspects
    assert suspects.failed([one], 22) == (0, False)


def test_a_refusal_is_a_proof_against_the_videos_that_are_not_in_it():
    suspects, (one, other) = Suspects(), TWENTY[:2]
    suspects.failed([one, other], 1)
    suspects.refused([one], 2)
    assert suspects.failed([one], 3) == (0, False)
    assert suspects.failed([other], 4) == (1, True)
    suspects.taken([other], 5)
    suspects.refused([one], 6)
    assert suspects.failed([one], 7) == (1, True), "5 is a proof still"
    suspects.taken([other], 8)
    assert suspects.failed([one], 9, with_all=True) == (1, False)


def test_a_refusal_of_everything_is_no_failure_of_a_video():
    suspects, (one, other) = Suspects(), TWENTY[:2]
    assert suspects.failed([one], 1, with_all=True) == (0, False)
    proofs = []
    for attempt in range(2, 2 + 2 * FAILURES_ALONE_MAX + 2, 2):
        suspects.taken([other], attempt)
        proofs.append(suspects.failed([one], attempt + 1).is_proof)
    assert proofs == [False] * FAILURES_ALONE_MAX + [True]


def test_what_is_remembered_has_a_bound():
    suspects = Suspects()
    for number in range(25_000):
        suspects.failed([number.to_bytes(16, "big")], number)
    assert len(suspects) == 20_000


def test_a_batch_that_fails_alone_is_searched_by_halves_which_are_not_asked_so_often():
    wrong = TWENTY[0]
    world = fails_on(wrong, failure=UNKNOWN, in_flight_max=8)
    world.play(*TWENTY)
    for video in MORE:
        world.run(500)
        world.play(video)
    widths = [one.width for one in world.attempts if wrong in one.batch.videos]
    assert widths.count(20) > FAILURES_ALONE_MAX
    assert all(widths.count(width) <= 2 for width in range(2, 20)), "then each half once or twice"
    assert world.refused_now() == [wrong]


def test_of_more_suspects_than_are_kept_those_that_failed_last_are_kept(monkeypatch):
    monkeypatch.setattr(suspects, "VIDEOS_MAX", 5)
    some = Suspects()
    some.failed(TWENTY[:5], 1)
    assert list(some) == TWENTY[:5]
    some.failed(TWENTY[5:7], 2)
    assert list(some) == TWENTY[2:7]
