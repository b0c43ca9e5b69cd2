"""A flood of new videos: nothing is lost, publishes are full, memory is bounded."""

import pytest

from bench.flood import VIDEOS_A_PUBLISH_MAX, flood
from tests.support.fuzzing import RUNS

VIDEOS = 5000
GROWTH_MB_MAX = 100


@pytest.mark.timeout(600 + 60 * RUNS)
def test_a_flood_of_new_videos_is_told_whole_in_full_publishes(tmp_path):
    found = flood(tmp_path, VIDEOS * RUNS, held=True)
    assert not found.wrong
    assert len(found.totals) == found.videos
    assert set(found.totals.values()) == {1}
    assert len(found.widths) - found.full <= 2, "only the first and the last publish may not be full"
    assert max(found.widths) == VIDEOS_A_PUBLISH_MAX
    assert sum(found.memory_mb.values()) < GROWTH_MB_MAX * RUNS
