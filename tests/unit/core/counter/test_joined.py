"""The plays of several messages count the same together as one message after the other."""

from hypothesis import given
from hypothesis import strategies as st

from actors.core.columns import by_video, pack_numbers
from actors.core.counter.joined import joined
from actors.core.counter.ledger import Ledger
from actors.core.counter.seen_ids import SeenIds
from actors.core.messages import Plays

WALL_NS = 10**15


def message(number, source, plays, received_ms, named=False):
    """One message. `plays`: message id, video and arrival of each. `named`: with play ids, few of them."""
    return Plays(
        number,
        source,
        b"".join(one.to_bytes(8, "big") for one, _, _ in plays),
        b"".join(bytes([video]) * 16 for _, video, _ in plays),
        pack_numbers(arrived_ns for _, _, arrived_ns in plays),
        received_ms,
        b"".join(bytes([one % 7, video]) * 8 for one, video, _ in plays) if named else b"",
    )


def state(ledger):
    pending = [sorted(by_video(one.videos, one.arrived_ns, one.ordinals)) for one in ledger.recall()[0]]
    accounts = {video: (account.total, account.arrived_ns) for video, account in ledger._accounts.items()}
    return accounts, pending, ledger.tallies


PLAY = st.tuples(st.integers(1, 60), st.integers(0, 3), st.integers(1, 5))


@given(
    st.lists(st.tuples(st.sampled_from(["a/plays", "b/plays"]), st.lists(PLAY, max_size=40)), max_size=5),
    st.booleans(),
)
def test_plays_that_are_joined_count_as_they_do_one_message_after_the_other(parts, named):
    messages = [message(number, source, plays, number, named) for number, (source, plays) in enumerate(parts)]
    # 60 ids for up to 200 plays: many come twice, with one stamp or with several.
    alone, together = Ledger(SeenIds(1000)), Ledger(SeenIds(1000))
    for one in messages:
        alone.apply(one, 1, WALL_NS)
    for one in joined(messages):
        together.apply(one, 1, WALL_NS)
    assert state(together) == state(alone)


def test_there_is_one_message_of_each_source_and_the_earliest_reading_is_told():
    first, second = message(1, "a/plays", [(1, 1, 1)], 0), message(2, "a/plays", [(2, 2, 2)], 70)
    other, last = message(3, "b/plays", [(1, 3, 3)], 60), message(4, "a/plays", [(3, 1, 4)], 50)
    both = message(1, "a/plays", [(1, 1, 1), (2, 2, 2), (3, 1, 4)], 50)
    assert joined([first, second, other, last]) == [both, other]


def test_plays_that_name_their_identity_are_one_message_whatever_their_sources_are():
    first, second = message(1, "a/plays", [(1, 1, 1)], 5, True), message(2, "b/plays", [(2, 2, 2)], 6, True)
    other = message(3, "b/plays", [(1, 3, 3)], 7)
    assert joined([first, second, other]) == [message(1, "a/plays", [(1, 1, 1), (2, 2, 2)], 5, True), other]
