"""Rules broken on purpose, one bug each: they prove that the simulation can fail.

Each is the real class with one change. The invariants named with it must catch it.
"""

from msgspec import Struct

from . import broken_counting, broken_dispatching
from .checks import Invariant
from .process import Machines


class Mutant(Struct, frozen=True):
    """Rules with one bug, and the invariants that it breaks, each in some run."""

    machines: Machines
    caught_by: tuple[Invariant, ...]


MUTANTS = {
    kind.__name__: Mutant(Machines(**{part: kind}), tuple(caught_by))
    for part, kind, *caught_by in (
        ("deliveries", broken_counting.FinishesBeforeCommit, Invariant.FIN_AFTER_COMMIT),
        ("deliveries", broken_counting.DoesNotResend, Invariant.CONVERGES),
        ("deliveries", broken_counting.FinishesOnALostConnection, Invariant.NO_CRASH),
        ("deliveries", broken_counting.FinishesLettersEarly, Invariant.LETTER_BEFORE_FIN),
        ("deliveries", broken_counting.HoldsForEver, Invariant.CONVERGES),
        ("ready_counts", broken_counting.WantsTooMuch, Invariant.IN_FLIGHT),
        ("ready_counts", broken_counting.DoesNotShare, Invariant.IN_FLIGHT),
        ("ready_counts", broken_counting.NeverPauses, Invariant.IN_FLIGHT),
        ("ready_counts", broken_counting.NeverResumes, Invariant.CONVERGES),
        ("ready_counts", broken_counting.AsksInAPause, Invariant.PAUSED),
        ("ready_counts", broken_counting.StaysPaused, Invariant.CONVERGES),
        ("stalls", broken_counting.TakesEveryRefusalForATimeout, Invariant.CONVERGES),
        ("stalls", broken_counting.NeverLooks, Invariant.CONVERGES),
        ("identities", broken_counting.SharesAnIdentity, Invariant.FIN_AFTER_COMMIT),
        ("identities", broken_counting.KnowsNoIdentity, Invariant.EXACT_TOTALS),
        ("counting", broken_counting.AnswersBeforeCommit, Invariant.FIN_AFTER_COMMIT),
        ("counting", broken_counting.ForgetsSeenIds, Invariant.EXACT_TOTALS),
        ("counting", broken_counting.IgnoresRecall, Invariant.CONVERGES, Invariant.DRAINED),
        ("counting", broken_counting.ForgetsTheRestOfARecall, Invariant.CONVERGES, Invariant.DRAINED),
        ("counting", broken_counting.KeepsWhatItHeld, Invariant.DEADLINE),
        ("counting", broken_counting.AnswersOnlyInCompany, Invariant.CONVERGES),
        ("counting", broken_counting.CountsACommitToCome, Invariant.NEVER_AHEAD),
        ("seen", broken_counting.SeesWithoutSource, Invariant.EXACT_TOTALS),
        ("seen", broken_counting.SeesOneAddressAlone, Invariant.EXACT_TOTALS),
        ("seen", broken_counting.SeesWithoutStamp, Invariant.FIN_AFTER_COMMIT),
        ("seen", broken_counting.ExpiresTooEarly, Invariant.EXACT_TOTALS),
        ("seen", broken_counting.KnowsPlaysByTheirMessages, Invariant.EXACT_TOTALS),
        ("seen", broken_counting.ForgetsPlaysTooEarly, Invariant.EXACT_TOTALS),
        ("seen", broken_counting.ForgetsPlaysAtAStart, Invariant.EXACT_TOTALS),
        ("seen", broken_counting.CountsTwoOfOneCommit, Invariant.EXACT_TOTALS),
        ("identified", broken_counting.NamesPlaysWithoutTheirVideo, Invariant.EXACT_TOTALS),
        ("ledger", broken_counting.ForgetsWhileTheDiskFails, Invariant.EXACT_TOTALS),
        ("ledger", broken_counting.LosesLetters, Invariant.EXACT_TOTALS),
        ("ledger", broken_counting.TellsANewerArrival, Invariant.OLDEST_ARRIVAL),
        ("ledger", broken_counting.TellsWhatItDidNotTake, Invariant.OLDEST_ARRIVAL),
        ("ledger", broken_counting.SkipsSteps, Invariant.EVERY_STEP),
        ("ledger", broken_counting.HandsOutNewTotals, Invariant.REPUBLISHED),
        ("dispatching", broken_dispatching.AdvancesWhenItLeaves, Invariant.CONVERGES),
        ("dispatching", broken_dispatching.LeavesTheRepublishOutOfTheKey, Invariant.REPUBLISHED),
        ("dispatching", broken_dispatching.ForgetsTheRepublish, Invariant.CONVERGES),
        ("dispatching", broken_dispatching.DeliversBeforeStore, Invariant.WRITTEN_FIRST),
        ("dispatching", broken_dispatching.PublishesInAPause, Invariant.PAUSED),
        ("dispatching", broken_dispatching.SendsAgainInAPause, Invariant.PAUSED),
        ("dispatching", broken_dispatching.ForgetsTheLimitThatWasSet, Invariant.WRITTEN_FIRST),
        ("dispatching", broken_dispatching.ForgetsTheRateThatWasSet, Invariant.RATE),
        ("dispatching", broken_dispatching.KeepsTheLingers, Invariant.EARLIEST_FIRST),
        ("dispatching", broken_dispatching.StoresTheFirstAttemptOnly, Invariant.ATTEMPTS),
        ("dispatching", broken_dispatching.ForgetsAttemptsOfBefore, Invariant.ATTEMPTS),
        (
            "dispatching",
            broken_dispatching.TakesUnknownForRefused,
            Invariant.ONLY_CHANGED,
            Invariant.NEVER_FALLS,
        ),
        ("dispatching", broken_dispatching.ForgetsItsDoubt, Invariant.ONLY_CHANGED),
        ("dispatching", broken_dispatching.NeverChangesItsKey, Invariant.CONVERGES),
        ("dispatching", broken_dispatching.ChangesItsKeyInDoubt, Invariant.ONLY_CHANGED),
        ("dispatching", broken_dispatching.ForgetsBeforeRecorded, Invariant.ONLY_CHANGED),
        ("dispatching", broken_dispatching.RecordsBeforeTheAnswer, Invariant.RECORDED_AFTER),
        ("dispatching", broken_dispatching.AsksBeforeItTells, Invariant.OLDEST_ARRIVAL),
        ("dispatching", broken_dispatching.StoresTheNewBatchAlone, Invariant.ONE_BATCH),
        ("dispatching", broken_dispatching.CountsAStoreToCome, Invariant.NEVER_AHEAD),
        ("dispatching", broken_dispatching.LossDropsPending, Invariant.CONVERGES),
        ("dispatching", broken_dispatching.TakesTwentyOne, Invariant.WIDTH),
        ("dispatching", broken_dispatching.CallsStepsOverdue, Invariant.OLDEST_ARRIVAL),
        ("dispatching", broken_dispatching.CountsItsKeys, Invariant.ONE_CONTENT_A_KEY),
        ("dispatching", broken_dispatching.KeysByVideo, Invariant.ONE_CONTENT_A_KEY),
        ("dispatching", broken_dispatching.NeverHalves, Invariant.CONVERGES),
        ("dispatching", broken_dispatching.TakesA409ForContent, Invariant.ONLY_CHANGED),
        ("dispatching", broken_dispatching.ForgetsWhoIsRefused, Invariant.ALONE),
        ("dispatching", broken_dispatching.HalvesWhenAllIsRefused, Invariant.ONE_REFUSAL),
        ("dispatching", broken_dispatching.NeverTriesAgain, Invariant.CONVERGES),
        ("dispatching", broken_dispatching.NeverGivesWay, Invariant.CONVERGES),
        ("dispatching", broken_dispatching.ProbesTheSameVideos, Invariant.EARLIEST_FIRST),
        ("dispatching", broken_dispatching.BlamesNoVideo, Invariant.CONVERGES),
        ("dispatching", broken_dispatching.BlamesAtOnce, Invariant.ONLY_CHANGED),
        ("dispatching", broken_dispatching.NeverNarrows, Invariant.NARROW),
        ("dispatching", broken_dispatching.ForgetsTheWidth, Invariant.NARROW),
        ("dispatching", broken_dispatching.DeadlineFromReceipt, Invariant.DEADLINE),
        ("dispatching", broken_dispatching.IgnoresWhatIsOnItsWay, Invariant.EARLIEST_FIRST),
        ("dispatching", broken_dispatching.ResendsOneOfSeveral, Invariant.CONVERGES),
        ("dispatching", broken_dispatching.SavesUpAttempts, Invariant.RATE),
        ("dispatching", broken_dispatching.LimitsEachConnection, Invariant.RATE),
        ("dispatching", broken_dispatching.TakesTwice, Invariant.ONE_BATCH),
        ("dispatching", broken_dispatching.HotFirst, Invariant.EARLIEST_FIRST),
        ("dispatching", broken_dispatching.LeavesRoom, Invariant.EARLIEST_FIRST),
    )
}
