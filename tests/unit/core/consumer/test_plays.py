"""Dividing columns of plays among shards gives the same as dividing play by play, in the order of arrival."""

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.columns import pack_numbers
from actors.core.consumer.plays import PlayColumns, shards_of
from actors.core.shards import shard_of

columns = st.integers(0, 80).flatmap(lambda rows: st.binary(min_size=16 * rows, max_size=16 * rows))


def rows_of(column, size=16):
    return [bytes(column[at : at + size]) for at in range(0, len(column), size)]


@given(columns, st.integers(1, 64))
def test_the_shards_of_a_column_are_those_of_its_videos(videos, shards):
    assert shards_of(videos, shards).tolist() == [shard_of(video, shards) for video in rows_of(videos)]


def test_each_value_of_each_byte_has_its_part_in_the_shard():
    videos = b"".join(bytes(at) + bytes([byte]) + bytes(15 - at) for at in range(16) for byte in range(256))
    for shards in (2, 3, 64, 65_521):
        assert shards_of(videos, shards).tolist() == [shard_of(video, shards) for video in rows_of(videos)]


@settings(deadline=None)
@given(columns, st.integers(1, 64), st.booleans())
def test_each_shard_has_its_plays_in_the_order_in_which_they_came(videos, shards, named):
    plays, expected = PlayColumns(), {}
    for number, video in enumerate(rows_of(videos)):
        play_id = b"%016d" % number if named else b""
        play = b"%016x" % number, video, pack_numbers([-number]), play_id
        plays.ids += play[0]
        plays.videos += video
        plays.arrived_ns.append(-number)
        plays.play_ids += play_id
        expected.setdefault(shard_of(video, shards), []).append(play)
    found = {}
    for shard, ids, of, arrived_ns, play_ids in plays.by_shard(shards):
        assert shard not in found
        names = rows_of(play_ids) if named else [b""] * (len(of) // 16)
        found[shard] = list(zip(rows_of(ids), rows_of(of), rows_of(arrived_ns, 8), names, strict=True))
        assert bool(play_ids) is named
    assert found == expected


def test_plays_of_two_nodes_keep_their_own_ids_videos_arrivals_and_play_ids():
    plays, nodes = PlayColumns(), (5, 6, 5)
    for number, node in enumerate(nodes):
        plays.ids += b"%016x" % (1 << 22 | node << 12 | number)
        plays.videos += bytes([number]) * 16
        plays.arrived_ns.append(number)
        plays.play_ids += b"%016d" % number
    for part in plays.parts(1):
        numbers = [number for number, node in enumerate(nodes) if node == part.node_id]
        assert rows_of(part.play_ids) == [b"%016d" % number for number in numbers]
        assert rows_of(part.videos) == [bytes([number]) * 16 for number in numbers]
        assert part.arrived_ns == pack_numbers(numbers)
        assert [int(one, 16) & 0xFFF for one in rows_of(part.hex_ids)] == numbers
        assert part.ids == bytes.fromhex(part.hex_ids.decode())
