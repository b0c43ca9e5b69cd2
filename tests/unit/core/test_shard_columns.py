"""The shards of a column of videos are those of its videos."""

import random

import pytest

from actors.core.shard_columns import shards_of
from actors.core.shards import SHARDS_MAX, shard_of


@pytest.mark.parametrize("shards", [1, 2, 3, 7, SHARDS_MAX])
def test_each_video_of_a_column_has_the_shard_that_it_has_alone(shards):
    chance = random.Random(shards)
    videos = [bytes(16), b"\xff" * 16, *(chance.randbytes(16) for _ in range(500))]
    videos += [
        bytes(place) + bytes([1 << bit]) + bytes(15 - place) for place in range(16) for bit in range(8)
    ]
    assert shards_of(b"".join(videos), shards).tolist() == [shard_of(one, shards) for one in videos]
    assert shards_of(b"", shards).tolist() == []
