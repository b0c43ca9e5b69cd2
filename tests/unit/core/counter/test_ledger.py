"""One shard's ledger, by examples: plays are counted, announced, taken and published."""

import numpy as np
import pytest
from msgspec import structs

from actors.core.columns import pack_numbers, unpack_numbers, unpack_videos
from actors.core.counter.accounts import PUBLISHED, TOTAL, Accounts
from actors.core.counter.announcements import PENDING_VIDEOS_MAX
from actors.core.counter.ledger import COMMITS_A_PART, FEW, Ledger
from actors.core.counter.recall import RECALL_VIDEOS, ROWS_A_LOOK, ROWS_MAX
from actors.core.counter.seen_ids import BUCKET_SHIFT, EXPIRY_INTERVAL_MS, SeenIds
from actors.core.messages import NO_ROW, Plays, Rejected

V, W = b"v" * 16, b"w" * 16
MS = 1_000_000
NOW_MS = 1_000_000
WALL_NS = NOW_MS * 1_000_000


class Ids:
    """A source of message ids that were not used before."""

    def __init__(self):
        self.last = 0

    def take(self, count):
        self.last += count
        return [self.last - count + 1 + n for n in range(count)]


IDS = Ids()


def ledger(steps_below=0):
    return Ledger(SeenIds(3_600_000), steps_below=steps_below)


def plays(*facts, ids=None, source="a/plays"):
    """The message for these plays: (video, arrival in ms)."""
    ids = ids or IDS.take(len(facts))
    return Plays(
        1,
        source,
        b"".join(one.to_bytes(8, "big") for one in ids),
        b"".join(video for video, _ in facts),
        pack_numbers(ms * MS for _, ms in facts),
    )


def collected(answer):
    """The totals that a batch takes: (video, total, arrival in ms)."""
    columns = (
        unpack_videos(answer.videos),
        unpack_numbers(answer.totals),
        unpack_numbers(answer.arrived_ns),
    )
    return [(video, total, ns // MS) for video, total, ns in zip(*columns, strict=True)]


def pending(messages):
    """The announced videos: (video, arrival in ms, ordinal)."""
    return [
        (video, ns // MS, ordinal)
        for one in messages
        for video, ns, ordinal in zip(
            unpack_videos(one.videos),
            unpack_numbers(one.arrived_ns),
            unpack_numbers(one.ordinals),
            strict=True,
        )
    ]


def again(before, steps_below=0):
    """The ledger that a counter loads after a kill, with all that was committed."""
    changes = before.take_changes(NOW_MS)
    accounts = Accounts(changes.accounts.items())
    return Ledger(SeenIds(3_600_000, changes.seen), accounts, changes.tallies, steps_below)


def test_a_play_is_counted_and_announced_with_its_arrival_and_the_total_that_it_made():
    one = ledger()
    one.apply(plays((V, 10), (W, 20), (V, 5)), NOW_MS, WALL_NS)
    assert sorted(pending(one.take_announcements())) == [(V, 5, 1), (W, 20, 1)]
    assert one.pending_count == 2
    assert one.tallies.counted == 3
    assert one.take_announcements() == []


def test_a_redelivery_counts_nothing_and_announces_nothing():
    one = ledger()
    play = plays((V, 10), ids=[500_001])
    one.apply(play, NOW_MS, WALL_NS)
    one.take_announcements()
    one.apply(play, NOW_MS, WALL_NS)
    one.apply(plays((V, 10), ids=[500_001], source="b/plays"), NOW_MS, WALL_NS)
    assert collected(one.collect(1, [V])) == [(V, 2, 10)]
    assert one.tallies.redelivered == 1


def test_further_plays_of_a_pending_video_are_not_announced_unless_older():
    one = ledger()
    one.apply(plays((V, 10)), NOW_MS, WALL_NS)
    one.take_announcements()
    one.apply(plays((V, 11)), NOW_MS, WALL_NS)
    assert one.take_announcements() == []
    one.apply(plays((V, 3)), NOW_MS, WALL_NS)
    assert pending(one.take_announcements()) == [(V, 3, 1)]


# Few plays are applied one by one, more of them as columns.
few_and_many = pytest.mark.parametrize("others", [0, 4 * FEW], ids=["one by one", "by columns"])


@few_and_many
def test_a_stamp_from_the_future_counts_as_now(others):
    one = ledger()
    one.apply(plays((V, NOW_MS + 5000), (W, 7), *[(W, 8)] * others), NOW_MS, WALL_NS)
    assert sorted(pending(one.take_announcements())) == [(V, NOW_MS, 1), (W, 7, 1)]


@few_and_many
@pytest.mark.parametrize("steps_below", [0, 100])
def test_a_stamp_from_before_all_time_counts_as_the_first_nanosecond(steps_below, others):
    # Whoever reads the ledger considers a negative number in an account to be damage.
    one = ledger(steps_below)
    one.apply(plays((V, -5000), (V, 0), (W, 7), *[(W, 8)] * others), NOW_MS, WALL_NS)
    (announced,) = one.take_announcements()
    assert sorted(unpack_numbers(announced.arrived_ns)) == [1, 7 * MS]
    assert min(unpack_numbers(one.take_changes(NOW_MS).accounts.arrived_ns)) == 1


def test_a_batch_takes_the_total_of_its_moment_and_the_oldest_untold_arrival():
    one = ledger()
    one.apply(plays((V, 10), (V, 4), (V, 30)), NOW_MS, WALL_NS)
    assert collected(one.collect(7, [V, W])) == [(V, 3, 4)]
    assert one.collect(7, [V]).number == 7


def test_plays_after_a_batch_left_wait_with_their_own_arrival():
    one = ledger()
    one.apply(plays((V, 10)), NOW_MS, WALL_NS)
    one.collect(1, [V])
    one.take_announcements()
    one.apply(plays((V, 25), (V, 20)), NOW_MS, WALL_NS)
    assert pending(one.take_announcements()) == [(V, 20, 2)]
    one.publish([V], [1])
    assert pending(one.take_announcements()) == [(V, 20, 2)]
    assert collected(one.collect(2, [V])) == [(V, 3, 20)]
    one.publish([V], [3])
    assert one.pending_count == 0
    assert collected(one.collect(3, [V])) == []


def test_a_batch_that_failed_is_taken_again_with_what_came_since_and_the_older_arrival():
    one = ledger()
    one.apply(plays((V, 10)), NOW_MS, WALL_NS)
    one.collect(1, [V])
    one.apply(plays((V, 20)), NOW_MS, WALL_NS)
    assert collected(one.collect(2, [V])) == [(V, 2, 10)]


def test_published_twice_changes_nothing():
    one = ledger()
    one.apply(plays((V, 10)), NOW_MS, WALL_NS)
    one.collect(1, [V])
    one.publish([V], [1])
    one.take_announcements()
    one.take_changes(NOW_MS)
    one.publish([V], [1])
    assert one.take_announcements() == []
    assert one.take_changes(NOW_MS) is None


def test_published_of_a_video_that_it_does_not_have_is_passed_over():
    one = ledger()
    one.publish([V], [1])
    assert one.take_changes(NOW_MS) is None
    assert len(one) == 0


def test_a_total_above_what_is_counted_is_not_told_again_until_it_is_passed():
    """The ledger is from a backup. The client knows a higher total, and must never see a total fall."""
    one = ledger()
    one.apply(plays((V, 10)), NOW_MS, WALL_NS)
    one.publish([V], [3])
    one.apply(plays((V, 11), (V, 12)), NOW_MS, WALL_NS)
    assert one.pending_count == 0
    assert collected(one.collect(1, [V])) == []
    one.apply(plays((V, 13)), NOW_MS, WALL_NS)
    assert collected(one.collect(1, [V])) == [(V, 4, 13)]


def test_the_ends_of_the_taken_part_outlive_a_kill():
    """Otherwise the plays after a batch would be published with the arrival of the plays in it."""
    one = ledger()
    one.apply(plays((V, 10)), NOW_MS, WALL_NS)
    one.collect(1, [V])
    one = again(one)
    one.apply(plays((V, 20)), NOW_MS, WALL_NS)
    one.publish([V], [1])
    assert collected(one.collect(2, [V])) == [(V, 2, 20)]


def test_a_collect_that_changes_nothing_commits_nothing():
    one = ledger()
    one.apply(plays((V, 10)), NOW_MS, WALL_NS)
    one.collect(1, [V])
    one.take_changes(NOW_MS)
    one.collect(2, [V])
    assert one.take_changes(NOW_MS) is None


def test_a_total_inside_the_taken_part_keeps_the_older_arrival_early_and_never_late():
    one = ledger()
    one.apply(plays((V, 10)), NOW_MS, WALL_NS)
    one.collect(1, [V])
    one.apply(plays((V, 20)), NOW_MS, WALL_NS)
    one.collect(2, [V])
    one.apply(plays((V, 5)), NOW_MS, WALL_NS)  # came late: older than all before it
    one.take_announcements()
    one.publish([V], [1])
    assert pending(one.take_announcements()) == [(V, 5, 2)]
    assert collected(one.collect(3, [V])) == [(V, 3, 5)]


def test_after_a_total_beyond_the_taken_part_an_older_play_is_announced_with_the_first_unpublished_total():
    one = ledger()
    one.apply(plays((V, 10)), NOW_MS, WALL_NS)
    one.collect(1, [V])
    one.apply(plays((V, 20), (V, 30)), NOW_MS, WALL_NS)
    one.publish([V], [2])  # an earlier dispatcher had sent it
    one.take_announcements()
    one.apply(plays((V, 5)), NOW_MS, WALL_NS)
    assert pending(one.take_announcements()) == [(V, 5, 3)]


def test_recall_says_all_that_is_pending_with_the_oldest_arrival():
    one = ledger()
    one.apply(plays((V, 10), (W, 20)), NOW_MS, WALL_NS)
    one.collect(1, [V])
    one.apply(plays((V, 3)), NOW_MS, WALL_NS)
    assert sorted(pending(one.recall()[0])) == [(V, 3, 1), (W, 20, 1)]
    one.publish([W], [1])
    assert sorted(pending(one.recall()[0])) == [(V, 3, 1)]


@pytest.mark.parametrize("videos_max", [1, 7, 5000, RECALL_VIDEOS])
def test_pieces_of_a_recall_have_each_pending_video_once_and_look_at_a_bounded_part(videos_max):
    one, count = ledger(), ROWS_MAX + ROWS_A_LOOK + 100
    rows = [*range(5), ROWS_A_LOOK - 1, ROWS_A_LOOK, *range(ROWS_MAX - 1, ROWS_MAX + 9), count - 1]
    one._accounts.lengthen(count)
    one._accounts.cells[:, 0] = np.arange(count)
    one._accounts.cells[:, TOTAL] = one._accounts.cells[:, PUBLISHED] = 3
    one._accounts.cells[rows, TOTAL] = 4
    row, found, pieces = 0, [], 0
    while row != NO_ROW:
        said, next_row = one.recall(row, videos_max)
        found += [video for video, _, _ in pending(said)]
        assert next_row == NO_ROW or row < next_row <= row + ROWS_MAX
        assert sum(len(each.videos) // 16 for each in said) <= videos_max
        row, pieces = next_row, pieces + 1
    assert found == [one._accounts.video(each) for each in rows]
    assert pieces >= 2


def test_what_is_pending_is_said_in_messages_of_bounded_size():
    one = ledger()
    videos = [number.to_bytes(16, "big") for number in range(PENDING_VIDEOS_MAX + 1)]
    one.apply(plays(*((video, 1) for video in videos)), NOW_MS, WALL_NS)
    sizes = [len(message.videos) // 16 for message in one.recall()[0]]
    assert sizes == [PENDING_VIDEOS_MAX, 1]
    assert len(pending(one.take_announcements())) == len(videos)


def test_dead_letters_are_counted_once_too():
    one = ledger()
    rejected = Rejected(1, "a/plays", (9).to_bytes(8, "big") + (8).to_bytes(8, "big"), bytes(16))
    one.reject(rejected, NOW_MS)
    one.reject(rejected, NOW_MS)
    assert (one.tallies.dead_lettered, one.tallies.redelivered) == (2, 2)
    assert one.pending_count == 0
    one.reject(
        structs.replace(rejected, arrived_ns=pack_numbers([7, 7])), NOW_MS
    )  # other messages, of those ids
    assert (one.tallies.dead_lettered, one.tallies.redelivered, one.tallies.reused) == (4, 2, 2)


def test_without_change_there_is_nothing_to_commit():
    one = ledger()
    assert one.take_changes(NOW_MS) is None
    one.apply(plays((V, 1)), NOW_MS, WALL_NS)
    changes = one.take_changes(NOW_MS)
    assert unpack_videos(changes.accounts.videos) == [V]
    assert changes.tallies.counted == 1
    assert one.take_changes(NOW_MS) is None


def test_a_redelivery_alone_writes_nothing_but_its_number_goes_with_the_next_commit():
    one = ledger()
    play = plays((V, 1), ids=[600_001])
    one.apply(play, NOW_MS, WALL_NS)
    one.take_changes(NOW_MS)
    one.apply(play, NOW_MS, WALL_NS)
    assert one.take_changes(NOW_MS) is None
    one.apply(plays((V, 1)), NOW_MS, WALL_NS)
    assert one.take_changes(NOW_MS).tallies.redelivered == 1


def test_the_number_of_redeliveries_is_written_before_the_counter_ends():
    """Else the figures would fall at the next start."""
    one = ledger()
    play = plays((V, 1), ids=[600_002])
    one.apply(play, NOW_MS, WALL_NS)
    one.take_changes(NOW_MS)
    assert one.take_changes(NOW_MS, ends=True) is None
    one.apply(play, NOW_MS, WALL_NS)
    assert one.take_changes(NOW_MS, ends=True).tallies.redelivered == 1
    assert one.take_changes(NOW_MS, ends=True) is None


def test_columns_of_unequal_length_are_refused():
    broken = Plays(1, "a/plays", bytes(8) + b"\1" * 8, V, pack_numbers([1]))
    with pytest.raises(ValueError):
        ledger(steps_below=5).apply(broken, NOW_MS, WALL_NS)
    one = ledger()
    one.apply(plays((V, 1)), NOW_MS, WALL_NS)
    for totals in ([], [1, 2]):
        with pytest.raises(ValueError):
            one.publish([V], totals)


# Every play on its own


def test_with_steps_each_total_below_the_bound_is_taken_on_its_own_in_order():
    one = ledger(steps_below=3)
    one.apply(plays((V, 10), (V, 20), (V, 30), (V, 40)), NOW_MS, WALL_NS)
    taken = []
    for number in range(4):
        taken += collected(one.collect(number, [V]))
        one.publish([V], [taken[-1][1]]) if taken else None
    assert taken == [(V, 1, 10), (V, 2, 20), (V, 4, 30)]
    assert one.pending_count == 0


def test_the_next_step_is_announced_when_one_leaves():
    one = ledger(steps_below=5)
    one.apply(plays((V, 10), (V, 20)), NOW_MS, WALL_NS)
    one.take_announcements()
    one.collect(1, [V])
    assert pending(one.take_announcements()) == [(V, 20, 2)]
    one.collect(2, [V])  # the first batch failed, so the second takes the same step again
    assert collected(one.collect(3, [V])) == [(V, 1, 10)]


def test_from_the_bound_on_the_oldest_arrival_counts_whichever_play_it_was():
    """A late play is older than the play that made the first total without its own step."""
    one = ledger(steps_below=2)
    one.apply(plays((V, 10)), NOW_MS, WALL_NS)
    one.apply(plays((V, 30)), NOW_MS, WALL_NS)
    one.apply(plays((V, 20)), NOW_MS, WALL_NS)
    assert collected(one.collect(1, [V])) == [(V, 1, 10)]
    assert min(ms for _, ms, _ in pending(one.take_announcements())) == 10
    one.publish([V], [1])
    assert pending(one.take_announcements()) == [(V, 20, 2)]
    assert collected(one.collect(2, [V])) == [(V, 3, 20)]


def test_steps_outlive_a_kill():
    one = ledger(steps_below=9)
    one.apply(plays((V, 10), (V, 20), (V, 30)), NOW_MS, WALL_NS)
    one.collect(1, [V])
    one = again(one, steps_below=9)
    one.publish([V], [1])
    assert collected(one.collect(2, [V])) == [(V, 2, 20)]


def test_steps_that_were_not_kept_are_told_at_once_with_the_oldest_arrival():
    """`dispatch.realtime` was not "every_play" for a while, so no steps were kept."""
    one = ledger(steps_below=9)
    one.apply(plays((V, 30)), NOW_MS, WALL_NS)
    one = again(one)
    one.apply(plays((V, 10), (V, 40)), NOW_MS, WALL_NS)
    one = again(one, steps_below=9)
    assert collected(one.collect(1, [V])) == [(V, 3, 10)]
    one.publish([V], [3])
    one.apply(plays((V, 50), (V, 60)), NOW_MS, WALL_NS)
    assert collected(one.collect(2, [V])) == [(V, 4, 50)]


def test_the_arrivals_that_are_kept_are_bounded_by_the_steps():
    one = ledger(steps_below=4)
    for _ in range(50):
        one.apply(plays((V, 1), (V, 2)), NOW_MS, WALL_NS)
    ((_, account),) = one.take_changes(NOW_MS).accounts.items()
    assert len(account.steps) == 4


def test_ids_expire_while_plays_come():
    window_ms, now_ms = 1000, 0
    one = Ledger(SeenIds(window_ms))
    first = plays((V, 1), ids=[1])
    expired = []
    for number in range(100):
        now_ms = number * 100
        play = first if number == 0 else plays((V, 1), ids=[number << BUCKET_SHIFT])
        one.apply(play, now_ms, WALL_NS)
        expired += one.take_changes(now_ms).expired
    assert len(one._seen) <= (window_ms + EXPIRY_INTERVAL_MS) // 100 + 2
    assert expired == [("a/plays", number) for number in range(len(expired))]
    one.apply(first, now_ms, WALL_NS)
    assert one.tallies.redelivered == 0, "its id is forgotten"


def test_the_window_does_not_run_while_no_counter_does():
    one, play = ledger(), plays((V, 10))
    one.apply(play, NOW_MS, WALL_NS)
    changes = one.take_changes(NOW_MS)
    window_ms = 1000
    # The service starts again a day later. Its monotonic clock begins anywhere.
    for started_ms, ran_ms, redelivered in ((5, 900, 1), (10**9, 900, 1), (7, 1200, 0)):
        accounts = Accounts(changes.accounts.items())
        seen = SeenIds(window_ms, changes.seen)
        again = Ledger(seen, accounts, changes.tallies, now_ms=started_ms)
        again.apply(plays((W, 1), source="b/plays"), started_ms + ran_ms, WALL_NS)
        again.take_changes(started_ms + ran_ms)
        again.apply(play, started_ms + ran_ms, WALL_NS + 10**15)
        assert again.tallies.redelivered == redelivered


def test_a_part_of_all_accounts_is_committed_every_so_many_commits_of_few_changes():
    one = ledger()
    with_part = []
    for commit in range(3 * COMMITS_A_PART):
        one.apply(plays((V, 1)), NOW_MS, WALL_NS)
        if one.take_changes(NOW_MS).part is not None:
            with_part.append(commit)
    first = with_part[0]  # a counter that never lives long writes parts too
    assert first == 0
    assert with_part == list(range(first, 3 * COMMITS_A_PART, COMMITS_A_PART))
