"""The workload keeps its word for every combination that is possible, and refuses the others."""

import hashlib
import re
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer import workload

ROOT = Path(__file__).resolve().parents[3]


def fingerprint(made: workload.Workload) -> str:
    text = repr((made.videos, list(made.totals.items()), made.order.tolist()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, workload.SEED_MAX),
    plays=st.one_of(st.integers(1, 300), st.integers(1, 20_000)),
    videos=st.integers(1, 150),
    quiet_videos=st.integers(0, 160),
    distribution=st.sampled_from(sorted(workload.DISTRIBUTIONS)),
)
def test_every_workload_is_what_was_asked_for_or_is_refused(seed, plays, videos, quiet_videos, distribution):
    busy_videos = videos - quiet_videos
    possible = busy_videos >= 0 and plays >= quiet_videos and (busy_videos > 0 or plays <= 99 * quiet_videos)
    if not possible:
        with pytest.raises(workload.ImpossibleWorkload):
            workload.make(seed, plays, videos, quiet_videos, distribution)
        return
    made = workload.make(seed, plays, videos, quiet_videos, distribution)
    totals = list(made.totals.values())
    assert sum(totals) == plays == made.plays == len(made.order)
    assert min(totals) >= 1
    assert len(totals) == len(made.videos) == min(videos, plays)
    quiet = sum(1 for total in totals if total <= 99)
    assert quiet >= quiet_videos
    if plays >= quiet_videos + 100 * busy_videos:
        assert quiet == quiet_videos, "the others have 100 or more"
    assert Counter(made.videos[index] for index in made.order) == made.totals
    assert all(str(uuid.UUID(guid)) == guid for guid in made.videos)
    again = workload.make(seed, plays, videos, quiet_videos, distribution)
    assert again == made and list(again.totals) == list(made.totals)


def test_the_reference_load_has_the_tasks_numbers():
    made = workload.make(1)
    quiet = [total for total in made.totals.values() if total <= 99]
    assert (made.plays, len(made.totals), len(quiet)) == (100_000, 100, 15)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1,), "7f3c1e5e980a331f"),
        ((7, 5_000, 30, 10, "uniform"), "48915b53df443f43"),
        ((8, 5_000, 30, 10, "viral"), "c980ffe2cdac0b03"),
        ((9, 700, 12, 12), "b1ed707b97371fc5"),
    ],
)
def test_a_seed_means_the_same_workload_for_ever(arguments, expected):
    # Written down once: a manifest or a failure that names its seed must stay reproducible.
    assert fingerprint(workload.make(*arguments)) == expected


def test_the_workload_does_not_depend_on_the_hash_seed_of_the_process():
    code = (
        "from producer import workload; made = workload.make(3, 2000, 40, 6);"
        "print(made.videos, made.totals, made.order.tolist())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(printed) == 1 and printed != {""}


def test_different_seeds_make_different_videos_and_orders():
    one, two = workload.make(1, 1000, 10, 2), workload.make(2, 1000, 10, 2)
    assert not set(one.videos) & set(two.videos)
    assert one.order != two.order


def test_the_popular_videos_are_played_from_beginning_to_end_of_the_run():
    made = workload.make(4)
    tenths = [Counter(made.order[start : start + 10_000]) for start in range(0, 100_000, 10_000)]
    for video in range(20):
        expected = made.totals[made.videos[video]] / 10
        for tenth in tenths:
            assert expected * 0.5 < tenth[video] < expected * 1.5


def test_zipf_follows_the_rank_uniform_is_even_and_viral_has_one_that_takes_most():
    zipf = list(workload.make(1, 1_000_000, 50, 0, "zipf").totals.values())
    assert zipf == sorted(zipf, reverse=True)
    assert zipf[0] / zipf[9] == pytest.approx(10, rel=0.1)
    uniform = list(workload.make(1, 10_003, 10, 0, "uniform").totals.values())
    assert max(uniform) - min(uniform) <= 1
    viral = list(workload.make(1, 100_000, 50, 5, "viral").totals.values())
    assert viral[0] > 50_000 > 10 * viral[1]


@pytest.mark.parametrize(
    ("plays", "videos", "quiet_videos", "told"),
    [
        (1000, 10, 11, ["at most 10 quiet", "at least 11 videos"]),
        (14, 100, 15, ["at least 15 plays", "at most 14 quiet"]),
        (991, 10, 10, ["at most 990 plays", "fewer quiet videos"]),
    ],
)
def test_a_refusal_says_what_was_asked_and_what_to_change(plays, videos, quiet_videos, told):
    with pytest.raises(workload.ImpossibleWorkload) as refusal:
        workload.make(1, plays, videos, quiet_videos)
    message = str(refusal.value)
    assert f"{plays} plays of {videos} videos, {quiet_videos} of them quiet" in message
    for part in told:
        assert re.search(part, message.replace("\n", " ")), message


@given(plays=st.integers(1, 200_000), videos=st.integers(1, 3_000))
def test_the_default_of_quiet_videos_is_always_possible(plays, videos):
    quiet_videos = workload.quiet_videos_default(plays, videos)
    workload.check(plays, videos, quiet_videos)
    assert quiet_videos == 15 or videos < 100 or plays < 15
