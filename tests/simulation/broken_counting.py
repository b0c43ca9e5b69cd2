"""Consumers and counters broken on purpose, one bug each: see `mutants.py`."""

from binascii import unhexlify

from msgspec import structs

from actors.core.columns import pack_numbers, unpack_ids, unpack_numbers, unpack_videos
from actors.core.consumer.effects import DeadLetter
from actors.core.consumer.identified import IdentifiedBodies
from actors.core.consumer.identities import Identities
from actors.core.consumer.ready_count import ReadyCount, ReadyCounts
from actors.core.consumer.rules import ConsumerRules
from actors.core.consumer.stalls import Stalls
from actors.core.counter.effects import Commit
from actors.core.counter.ledger import Ledger
from actors.core.counter.play_ids import PlayIds
from actors.core.counter.rules import CounterRules
from actors.core.counter.seen_chunks import PLAY_IDS, Admitted
from actors.core.counter.seen_ids import SeenIds
from actors.core.effects import Send
from actors.core.messages import NO_ROW, Counted, Plays, Recall, Rejected
from actors.core.table import EMPTY

# The consumer


class FinishesBeforeCommit(ConsumerRules):
    """Finishes messages when it receives them."""

    def received(self, connection, parsed, now_ms, wall_ns):
        effects = super().received(connection, parsed, now_ms, wall_ns)
        for shard, parcels in enumerate(self._parcels):
            effects += self.counted(shard, list(parcels), now_ms)
        return effects


class DoesNotResend(ConsumerRules):
    """Does not send a dead counter's unanswered messages to the next counter."""

    def linked(self, shard):
        return []


class FinishesOnALostConnection(ConsumerRules):
    """Finishes the messages of a lost connection on that connection."""

    def disconnected(self, connection):
        """Forget nothing."""
        return []


class FinishesLettersEarly(ConsumerRules):
    """Counts and finishes a message that is not a play before nsqd has its dead letter."""

    def received(self, connection, parsed, now_ms, wall_ns):
        effects = super().received(connection, parsed, now_ms, wall_ns)
        for letter in [one for one in effects if isinstance(one, DeadLetter)]:
            effects += self.dead_lettered(letter.number)
        return effects


class HoldsForEver(ConsumerRules):
    """Waits for more plays that may never come, before it passes on those of a backlog."""

    held_until_ms = None


class WantsTooMuch(ReadyCounts):
    """Asks for more than the share of max_in_flight."""

    class ready_count_type(ReadyCount):
        def ready_count(self, in_flight):
            return 4 * self.ready_count_max


class DoesNotShare(ReadyCounts):
    """Allows each connection all of max_in_flight."""

    def _share(self):
        for connection, one in self._by_connection.items():
            one.limit(min(self._max_in_flight, self._limits[connection]))
        return self._ask_all()


class NeverPauses(ReadyCounts):
    """Asks again and again for messages that time out while a counter is away."""

    def pause(self):
        return []


class NeverResumes(ReadyCounts):
    """Asks for nothing any more after a pause."""

    def resume(self, outstanding):
        return []


class AsksInAPause(ReadyCounts):
    """Asks for messages while somebody has paused consuming."""

    def suspend(self, suspended):
        return []


class StaysPaused(ReadyCounts):
    """Asks for nothing any more after somebody paused consuming."""

    def suspend(self, suspended):
        return super().suspend(True)


class TakesEveryRefusalForATimeout(Stalls):
    """Does nothing about a FIN that nsqd refuses, as if the message had timed out."""

    def refused(self, connection, error, now_ms):
        return []


class NeverLooks(Stalls):
    """Does not ask whether messages wait while nothing comes."""

    def looked(self, connection, waiting, now_ms):
        return []


class SharesAnIdentity(Identities):
    """Takes two nsqds with one node id and one host for one."""

    def _compare(self, node_id):
        self._texts.clear()


class KnowsNoIdentity(Identities):
    """Knows messages by the address of their nsqd alone."""

    def source(self, connection, node_id):
        return self.names(connection)


# The counters


class AnswersBeforeCommit(CounterRules):
    """Sends `Counted` before the commit."""

    def handle(self, inbox, now_ms, wall_ns):
        return sorted(super().handle(inbox, now_ms, wall_ns), key=lambda effect: isinstance(effect, Commit))


class AnswersOneConsumer(CounterRules):
    """Answers one consumer for all whose messages were counted together."""

    def handle(self, inbox, now_ms, wall_ns):
        first = next((peer for peer, one in inbox if isinstance(one, Plays | Rejected)), None)
        effects = super().handle(inbox, now_ms, wall_ns)
        return [
            Send(first, one.message) if isinstance(one, Send) and isinstance(one.message, Counted) else one
            for one in effects
        ]


class ForgetsSeenIds(CounterRules):
    """Leaves the ids out of the commit."""

    def handle(self, inbox, now_ms, wall_ns):
        effects = super().handle(inbox, now_ms, wall_ns)
        return [
            Commit(structs.replace(one.changes, seen=[])) if isinstance(one, Commit) else one
            for one in effects
        ]


class IgnoresRecall(CounterRules):
    """Does not answer a dispatcher that asks for all pending videos."""

    def handle(self, inbox, now_ms, wall_ns):
        return super().handle([one for one in inbox if not isinstance(one[1], Recall)], now_ms, wall_ns)


class ForgetsTheRestOfARecall(CounterRules):
    """Answers a dispatcher that asks for all pending videos with the first piece of them."""

    def handle(self, inbox, now_ms, wall_ns):
        effects = super().handle(inbox, now_ms, wall_ns)
        self._recall_row = NO_ROW
        return effects


class KeepsWhatItHeld(CounterRules):
    """Never sends the announcements that can wait, unless it has something else to say."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._hold_ms = 1 << 40

    def wakeup_ms(self):
        return self._wait_until_ms if self._waiting else None


class AnswersOnlyInCompany(CounterRules):
    """Lets questions wait for plays, however long none come."""

    def _in_company(self, inbox, now_ms):
        self._backlog_until_ms *= 1_000_000
        return super()._in_company(inbox, now_ms)


class CountsACommitToCome(CounterRules):
    """Tells the dispatcher of one commit more than the ledger has."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._commits += 1


class SeesWithoutSource(SeenIds):
    """Takes ids as unique over all nsqds."""

    def admit(self, source, ids, stamps, now_ms):
        return super().admit("", ids, stamps, now_ms)


class SeesOneAddressAlone(SeenIds):
    """Does not look for a message where its nsqd was before."""

    def _known_to(self, others, ids, stamps):
        return None


class SeesWithoutStamp(SeenIds):
    """An id that an nsqd gave again counts as a redelivery."""

    def admit(self, source, ids, stamps, now_ms):
        return super().admit(source, ids, bytes(len(stamps)), now_ms)


class ExpiresTooEarly(SeenIds):
    """Forgets ids long before the window is over."""

    def __init__(self, window_ms, stored=(), salt=bytes(16)):
        super().__init__(500, stored, salt)


class NamedPlays(SeenIds):
    """Seen ids whose `plays` are of another class."""

    plays_type: type[PlayIds]

    def __init__(self, window_ms, stored=(), salt=bytes(16)):
        stored = list(stored)
        super().__init__(window_ms, stored, salt)
        self.plays = self.plays_type(window_ms, [one for one in stored if one.source == PLAY_IDS], salt)


class KnowsPlaysByTheirMessages(NamedPlays):
    """Knows a play by NSQ's id and stamp although its body names it."""

    class plays_type(PlayIds):
        def admit(self, play_ids, ids, stamps, now_ms):
            pairs = zip(unpack_ids(ids), unpack_numbers(stamps), strict=True)
            names = b"".join(b"%016x%016x" % (id, stamp) for id, stamp in pairs)
            return super().admit(unhexlify(names), ids, stamps, now_ms)


class ForgetsPlaysTooEarly(NamedPlays):
    """Forgets plays long before the window is over."""

    class plays_type(PlayIds):
        def __init__(self, window_ms, stored, salt):
            super().__init__(500, stored, salt)


class ForgetsPlaysAtAStart(NamedPlays):
    """Does not read the plays that are stored."""

    class plays_type(PlayIds):
        def _load(self, stored):
            pass


class CountsTwoOfOneCommit(NamedPlays):
    """Looks plays up among those of earlier commits only."""

    class plays_type(PlayIds):
        def admit(self, play_ids, ids, stamps, now_ms):
            known = [
                any(one.table.row(play) != EMPTY for one in self._generations)
                for play in unpack_videos(play_ids)
            ]
            super().admit(play_ids, ids, stamps, now_ms)
            return Admitted([place for place, is_known in enumerate(known) if not is_known])


class NamesPlaysWithoutTheirVideo(IdentifiedBodies):
    """Takes two plays of two videos for one if they have one id."""

    def _identity(self, named):
        return super()._identity(named[16:])


class ForgetsWhileTheDiskFails(Ledger):
    """Lets the window run while nothing can be committed."""

    def __init__(self, *args):
        super().__init__(*args)
        self.clock.stand_still = lambda now_ms: None


class LosesLetters(Ledger):
    """Remembers the ids of dead letters, but does not count the letters."""

    def reject(self, rejected, now_ms):
        self._seen.admit(rejected.source, rejected.ids, rejected.arrived_ns, now_ms)


class TellsANewerArrival(Ledger):
    """Sends a total with the arrival of the plays that came after the taken part."""

    def _take(self, row, account):
        account.arrived_ns = account.later_ns or account.arrived_ns
        self._accounts.put(row, account)
        return super()._take(row, account)


class TellsWhatItDidNotTake(Ledger):
    """Announces a total without putting it into the video's next batch."""

    def take_realtime(self, below):
        self._take = lambda row, account: account
        super().take_realtime(below)
        del self._take


class SkipsSteps(Ledger):
    """Ignores `every_play`."""

    def __init__(self, seen, accounts, tallies, steps_below, now_ms):
        super().__init__(seen, accounts, tallies, now_ms=now_ms)


class HandsOutNewTotals(Ledger):
    """Hands out totals that the client does not have yet, to be published again."""

    def hand_out(self, asked):
        answer = super().hand_out(asked)
        totals = pack_numbers(self._accounts[video].total for video in unpack_videos(answer.videos))
        return structs.replace(answer, totals=totals)
