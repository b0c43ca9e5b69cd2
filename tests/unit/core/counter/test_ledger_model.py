"""The ledger compared with a model of plain lists, through plays, redeliveries, batches, failures and kills.

The model keeps, for each video, the arrivals of its plays in the order in which they were counted. A batch
must always take the number of these arrivals as the total, and the oldest unpublished arrival.
"""

from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.columns import pack_numbers, unpack_numbers, unpack_videos
from actors.core.counter import ledger
from actors.core.counter.accounts import Accounts
from actors.core.counter.ledger import Ledger
from actors.core.counter.seen_ids import SeenIds
from actors.core.messages import Plays

VIDEOS = [bytes([n]) * 16 for n in (1, 2, 3)]
NOW_MS = 1_000_000
WALL_NS = NOW_MS * 1_000_000


class Model:
    """A ledger, its commits, a naive model of it, and a dispatcher of a few lines."""

    def __init__(self, steps_below):
        self.steps_below = steps_below
        self.accounts, self.chunks, self.tallies = {}, [], None
        self.arrivals = {video: [] for video in VIDEOS}
        self.published = dict.fromkeys(VIDEOS, 0)
        self.counted_ids = set()
        self.stamps = {}
        self.waiting = {}
        self.batch = {}
        self.ledger = self.start()

    def start(self):
        accounts = Accounts(self.accounts.items())
        known = {} if self.tallies is None else {"tallies": self.tallies}
        seen = SeenIds(3_600_000, self.chunks)
        return Ledger(seen, accounts, **known, steps_below=self.steps_below)

    def commit(self):
        changes = self.ledger.take_changes(NOW_MS)
        if changes is not None:
            self.accounts |= dict(changes.accounts.items())
            self.chunks += changes.seen
            self.tallies = changes.tallies
        self.hear(self.ledger.take_announcements())

    def hear(self, announcements):
        for one in announcements:
            arrived, ordinals = unpack_numbers(one.arrived_ns), unpack_numbers(one.ordinals)
            videos = unpack_videos(one.videos)
            for video, ns, ordinal in zip(videos, arrived, ordinals, strict=True):
                old = self.waiting.get(video, (ns, ordinal))
                self.waiting[video] = (min(old[0], ns), min(old[1], ordinal))

    def play(self, facts):
        ids = [number for number, _, _ in facts]
        videos = [VIDEOS[number % len(VIDEOS)] for number in ids]  # an id is always of one video
        # and has always the same stamp
        arrived = [self.stamps.setdefault(number, arrived_ns) for number, arrived_ns, _ in facts]
        new = []
        for number, video, ns in zip(ids, videos, arrived, strict=True):
            if number not in self.counted_ids:
                self.counted_ids.add(number)
                new.append((ns, video))
        for ns, video in sorted(new):
            self.arrivals[video].append(ns)
        column = b"".join(number.to_bytes(8, "big") for number in ids)
        plays = Plays(1, "a/plays", column, b"".join(videos), pack_numbers(arrived))
        self.ledger.apply(plays, NOW_MS, WALL_NS)
        self.commit()

    def collect(self, number):
        """Let a batch leave with the pending videos. A batch that is on its way fails first."""
        self.fail()
        asked = sorted(self.waiting)
        taken = {video: self.waiting.pop(video) for video in asked}
        answer = self.ledger.collect(number, asked)
        self.commit()
        totals, arrived = unpack_numbers(answer.totals), unpack_numbers(answer.arrived_ns)
        facts = zip(totals, arrived, strict=True)
        found = dict(zip(unpack_videos(answer.videos), facts, strict=True))
        for video in asked:
            count, published = len(self.arrivals[video]), self.published[video]
            if count == published:
                assert video not in found, "a batch took a video that has no unpublished plays"
                continue
            total, arrived_ns = found[video]
            assert total == (published + 1 if published + 1 < self.steps_below else count)
            assert arrived_ns == min(self.arrivals[video][published:total]), "not the oldest unpublished play"
        self.batch = {video: (found[video][0], taken[video]) for video in found}

    def fail(self):
        for video, (_, (ns, ordinal)) in self.batch.items():
            old = self.waiting.get(video, (ns, ordinal))
            self.waiting[video] = (min(old[0], ns), min(old[1], ordinal))
        self.batch = {}

    def publish(self):
        for video, (total, _) in self.batch.items():
            self.published[video] = total
            if video in self.waiting and self.waiting[video][1] <= total:
                del self.waiting[video]
        videos = list(self.batch)
        self.ledger.publish(videos, [self.batch[video][0] for video in videos])
        self.batch = {}
        self.commit()

    def kill_counter(self):
        """The ledger starts from its commits; the dispatcher forgets the pending videos, and recalls them."""
        self.ledger = self.start()
        self.waiting = {}
        self.hear(self.ledger.recall()[0])

    def kill_dispatcher(self, stored):
        """The dispatcher restarts. `stored`: whether it had stored the batch that is on its way."""
        if not stored:
            self.batch = {}
        self.waiting = {}
        self.hear(self.ledger.recall()[0])

    def check(self):
        pending = 0
        for video in VIDEOS:
            arrivals, published = self.arrivals[video], self.published[video]
            pending += len(arrivals) > published
            on_its_way = self.batch[video][0] if video in self.batch else published
            if len(arrivals) > on_its_way:
                assert video in self.waiting, "a pending video that is not announced"
                arrived_ns, ordinal = self.waiting[video]
                assert arrived_ns <= min(arrivals[on_its_way:]), "due later than its oldest play"
                assert ordinal <= on_its_way + 1
        assert self.ledger.pending_count == pending
        assert self.ledger.tallies.counted == sum(map(len, self.arrivals.values()))


steps = st.one_of(
    st.tuples(
        st.just("play"),
        st.lists(st.tuples(st.integers(0, 60), st.integers(1, 50), st.none()), min_size=1, max_size=6),
    ),
    st.tuples(st.sampled_from(("collect", "collect", "fail", "publish", "publish")), st.none()),
    st.tuples(st.just("kill counter"), st.none()),
    st.tuples(st.just("kill dispatcher"), st.booleans()),
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from((0, 0, 3, 8)), st.lists(steps, max_size=40), st.sampled_from((0, ledger.FEW)))
def test_totals_arrivals_and_announcements_are_exact_whatever_happens(steps_below, happenings, few):
    with patch.object(ledger, "FEW", few):
        follow(Model(steps_below), happenings)


def follow(model, happenings):
    for number, (happening, facts) in enumerate(happenings):
        match happening:
            case "play":
                model.play(facts)
            case "collect":
                model.collect(number)
            case "fail":
                model.fail()
            case "publish":
                model.publish()
            case "kill counter":
                model.kill_counter()
            case "kill dispatcher":
                model.kill_dispatcher(facts)
        model.check()
    for number in range(200):
        if not model.waiting and not model.batch:
            break
        model.collect(number)
        model.publish()
        model.check()
    assert model.published == {video: len(one) for video, one in model.arrivals.items()}


class OneByOne(Ledger):
    """A ledger that adds the plays of a message one video at a time."""

    def _add_all(self, rows, arrived_ns):
        for row in sorted(set(rows.tolist())):
            self._add(row, int((rows == row).sum()), int(arrived_ns[rows == row].min()))


batches = st.lists(st.tuples(st.integers(0, 39), st.integers(0, 60)), min_size=1, max_size=50)


happenings = st.tuples(batches, st.sets(st.integers(0, 39)), st.booleans(), st.integers(-1, 3))


@settings(deadline=None)
@given(st.lists(happenings, max_size=8))
def test_a_column_at_a_time_and_a_video_at_a_time_are_the_same(happenings):
    with patch.object(ledger, "FEW", 0):
        follow_both(happenings)


def follow_both(happenings):
    ledgers = [kind(SeenIds(3_600_000)) for kind in (Ledger, OneByOne)]
    for number, (batch, asked, confirmed, more) in enumerate(happenings):
        ids = b"".join((number * 100 + place).to_bytes(8, "big") for place in range(len(batch)))
        videos = b"".join(bytes([video]) * 16 for video, _ in batch)
        plays = Plays(number, "a/plays", ids, videos, pack_numbers(arrived for _, arrived in batch))
        column = [bytes([video]) * 16 for video in sorted(asked)]
        said = []
        for one in ledgers:
            one.apply(plays, NOW_MS, 0 if number % 3 == 2 else WALL_NS)
            one.take_realtime(below=0)
            answer = one.collect(number, column)
            if confirmed:  # with `more` > 0 the ledger is from a backup, and the client knows higher totals
                totals = unpack_numbers(answer.totals)
                one.publish(unpack_videos(answer.videos), [total + more for total in totals])
            accounts = dict(one.take_changes(NOW_MS).accounts.items())
            pending = {
                fact
                for said_now in one.take_announcements()
                for fact in zip(
                    unpack_videos(said_now.videos),
                    unpack_numbers(said_now.arrived_ns),
                    unpack_numbers(said_now.ordinals),
                    strict=True,
                )
            }
            recalled = [(it.videos, it.arrived_ns, it.ordinals) for it in one.recall()[0]]
            said.append((answer, accounts, pending, recalled, one.tallies, one.pending_count))
        assert said[0] == said[1]
