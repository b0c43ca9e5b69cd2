"""A video stays in the same shard for ever. Videos spread over all shards, whatever their GUIDs look like."""

import subprocess
import sys
import uuid

import pytest

from actors.core.shards import counter_of, shard_number, shard_of

# Never change these: if one shard here changes, every existing ledger becomes wrong.
GOLDEN = {
    "00000000-0000-0000-0000-000000000000": {1: 0, 2: 1, 3: 1, 8: 5, 64: 21},
    "00010203-0405-0607-0809-0a0b0c0d0e0f": {1: 0, 2: 0, 3: 0, 8: 0, 64: 8},
    "6f1ed002-ab55-4d7e-8f2c-1d2e3f405162": {1: 0, 2: 1, 3: 1, 8: 1, 64: 41},
    "ffffffff-ffff-ffff-ffff-ffffffffffff": {1: 0, 2: 0, 3: 1, 8: 2, 64: 26},
}


@pytest.mark.parametrize("text", GOLDEN)
def test_a_video_is_of_the_same_shard_for_ever(text):
    video = uuid.UUID(text).bytes
    assert {shards: shard_of(video, shards) for shards in GOLDEN[text]} == GOLDEN[text]


def test_another_process_with_another_hash_seed_finds_the_same_shards():
    script = (
        "from actors.core.shards import shard_of; print([shard_of(bytes([n] * 16), 7) for n in range(50)])"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONHASHSEED": "17"}, capture_output=True, text=True
    )
    expected = [shard_of(bytes([n] * 16), 7) for n in range(50)]
    assert run.stdout.strip() == str(expected), run.stderr


@pytest.mark.parametrize(
    "video_of",
    [
        lambda n: n.to_bytes(16, "big"),
        lambda n: n.to_bytes(16, "little"),
        lambda n: bytes(4) + n.to_bytes(4, "big") + bytes(8),
        lambda n: uuid.uuid5(uuid.NAMESPACE_OID, str(n)).bytes,
    ],
    ids=["low bytes", "high bytes", "middle bytes", "random"],
)
@pytest.mark.parametrize("shards", [2, 3, 8])
def test_videos_in_sequence_spread_over_all_shards(video_of, shards):
    videos = 4000
    sizes = [0] * shards
    for number in range(videos):
        sizes[shard_of(video_of(number), shards)] += 1
    assert min(sizes) > 0.7 * videos / shards
    assert max(sizes) < 1.3 * videos / shards


def test_a_counter_and_its_shard_name_each_other():
    assert [shard_number(counter_of(shard)) for shard in (0, 1, 63)] == [0, 1, 63]


@pytest.mark.parametrize("child_id", ["consumer", "counter", "counter-", "counter-x", "x-1"])
def test_another_child_has_no_shard(child_id):
    with pytest.raises(ValueError):
        shard_number(child_id)
