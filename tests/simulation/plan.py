"""The plan of a run: its settings, its plays and its faults, all drawn from one seed.

A plan is a plain list of events, so that a shrinker can leave some out. What the plan does not have (how long
a message travels, where a read is cut) comes from `Random(luck)`.
"""

from enum import StrEnum
from random import Random
from typing import Any

from msgspec import Struct, structs

from actors.core.consumers import consumers_of, is_consumer

BUSY_MS = 5000  # how long plays and faults go on
QUEUES = 2
NODE = 7
PLAY_IDS_EVERY = 4  # one seed of so many has plays with ids of their own
PLAY_ID = "id"  # as in nsq.play_id
SEVERAL_EVERY = 6  # one seed of so many has several consumers
BAD = -1  # in place of a video: a message that is not a play


class Kind(StrEnum):
    """What can go wrong."""

    KILL = "kill"
    KILL_AT_EFFECT = "kill at effect"
    KILL_ALL = "kill the machine"
    STOP = "stop and continue"
    DISK = "disk fails"
    CUT = "connection to nsqd breaks"
    NSQD_RESTART = "nsqd restarts"
    NSQD_CLOCK = "nsqd restarts with its clock set back"
    REDELIVER = "nsqd redelivers what is in flight"
    NSQD_CRASH = "nsqd crashes, and has messages twice"
    LEAK = "nsqd counts too many messages in flight"
    CLIENT_SLOW = "client is slow"
    CLIENT_REFUSES = "client refuses"
    CLIENT_LIES = "client takes a batch, its 2xx is lost"
    CLIENT_DEAF = "nothing reaches the client"
    CLIENT_BREAKS = "client answers 5xx"
    CLIENT_TAKES_AND_BREAKS = "client takes a batch, and answers 5xx all the same"
    CLIENT_PICKY = "client refuses some videos"
    CLIENT_REFUSES_ALL = "client refuses everything"
    CLOCK = "clock jumps"
    REPUBLISH = "somebody asks to publish all totals again"
    PAUSE = "somebody pauses consuming or publishing"
    SET = "somebody changes a setting"


STALLS = (Kind.NSQD_CRASH, Kind.LEAK)
SERVER_ERRORS = (Kind.CLIENT_BREAKS, Kind.CLIENT_TAKES_AND_BREAKS)
# How a client fails on a video: without an answer, before or after it took the batch; with a 5xx; with a 403.
FAILS = ("closes", "takes and closes", "breaks", "forbids")
TAIL_MS = 40_000  # of plays, for as long as it takes to find out on which videos a client fails
REFUSALS = (Kind.CLIENT_PICKY, Kind.CLIENT_REFUSES_ALL)
CHANGES = (Kind.REPUBLISH, Kind.PAUSE, Kind.SET)
KINDS = tuple(kind for kind in Kind if kind not in (*STALLS, *SERVER_ERRORS, *REFUSALS, *CHANGES))
# A connection is replaced 5 s after the one before it, and after 5 s of silence and two looks.
STALLS_FOR_MS = 12_000
CLIENT_FAULTS = (
    Kind.CLIENT_SLOW,
    Kind.CLIENT_REFUSES,
    Kind.CLIENT_LIES,
    Kind.CLIENT_DEAF,
    *SERVER_ERRORS,
    *REFUSALS,
)
# Effects by the name of their class; "answer" is the moment when the client's answer is read.
EFFECTS = {
    "consumer": ("Send", "Finish", "DeadLetter", "SetReadyCount"),
    "counter": ("Commit", "Send"),
    "dispatcher": ("Store", "Deliver", "Send", "Forget", "answer"),
}
REFUSAL_EFFECTS = ("StoreRefused", "Forget", "Store", "Deliver", "answer")
RATE = "publish.rate_max_per_s"
SET_VALUES = {
    "publish.in_flight_max": (1, 2, 8),
    RATE: (0, 3, 20),
    "dispatch.realtime_linger_ms": (0, 50, 300),
    "dispatch.overdue_linger_ms": (0, 100, 400),
}
REPUBLISH_EFFECTS = {
    "counter-0": ("Send",),
    "dispatcher": ("StoreRepublish", "Deliver", "answer"),
}


class Fault(Struct, frozen=True):
    """One fault. `who`: the child or the nsqd; of a pause, "consumer" for all consumers. `amount`: ms of
    latency or of a jump, or messages replayed; of a client that refuses: the status that it answers, or the
    number of a video.

    At an effect: before or after the first effect of that kind from `at_ms` on.
    """

    kind: Kind
    at_ms: int
    who: str = ""
    lasts_ms: int = 0
    amount: int = 0
    effect: str = ""
    after: bool = False

    def __str__(self) -> str:
        facts = [f"{self.at_ms} ms", str(self.kind), self.who]
        facts += [f"{'after' if self.after else 'before'} {self.effect}"] if self.effect else []
        facts += [f"for {self.lasts_ms} ms"] if self.lasts_ms else []
        facts += [f"amount {self.amount}"] if self.amount else []
        return " ".join(fact for fact in facts if fact)


class Play(Struct, frozen=True):
    """A message that nsqd acknowledges at `at_ms`; its stamp is `age_ms` older than that.

    `play_id`: the id in its body, if the plan has play ids. Two messages with one id and video are one play.
    """

    at_ms: int
    queue: int
    video: int
    age_ms: int = 0
    play_id: int = 0


class Plan(Struct, frozen=True):
    """A run. Times are in milliseconds."""

    luck: int
    shards: int
    videos: int
    every_play: bool
    linger_ms: int
    window_ms: int
    max_in_flight: int
    latency_ms: int
    drains: bool
    plays: tuple[Play, ...]
    faults: tuple[Fault, ...]
    realtime_below: int = 6
    deadline_ms: int = 2000
    recovery_ms: int = 3000
    publish_timeout_ms: int = 1000
    stats_answer: bool = True  # whether an nsqd can be asked how many messages wait
    in_flight_max: int = 1
    realtime_wait_ms: int = 0
    rate_max_per_s: int = 0
    keeps_answers: bool = False  # whether the client keeps its first answer to a key, a 5xx too
    latency_varies_ms: int = 0  # the latency of the client differs from latency_ms by at most this much
    refused: tuple[int, ...] = ()  # the videos that the client never takes
    width_max: int = 0  # a wider batch is answered by 413; 0 if none is
    fails: tuple[tuple[int, str], ...] = ()  # on these videos the client always fails, each in its way
    conflicts: bool = False  # whether the client answers 409 while it is at work on another attempt
    backlog_plays: int = 256  # so many plays in one message are of a backlog
    recall_videos: int = 256  # so many videos are one piece of a recall
    moves: bool = False  # each nsqd has its own node id, and another address whenever it comes back
    nodes_are_told: bool = True  # or only the messages have the node id
    play_ids: bool = False  # whether bodies name the plays; else they are known by NSQ's message ids
    consumers: int = 1

    @property
    def nodes(self) -> tuple[int, ...]:
        """The node id of each nsqd."""
        return (NODE, NODE + 1) if self.moves else (NODE,) * QUEUES

    @property
    def refuses(self) -> bool:
        """Whether the client refuses something for what is in it, or fails on it."""
        return bool(self.refused or self.fails) or any(
            one.kind in (*REFUSALS, *SERVER_ERRORS) for one in self.faults
        )

    @property
    def heals_ms(self) -> int:
        """When the last fault is over."""
        return max((fault.at_ms + fault.lasts_ms for fault in self.faults), default=0)

    @property
    def ends_ms(self) -> int:
        """When no more plays come and no more faults happen."""
        return max(self.heals_ms, max((play.at_ms for play in self.plays), default=0))


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    random = Random(seed)
    shards = random.choice((1, 2, 2, 3))
    videos = random.choice((1, 3, 3, 12, 45))
    kinds = [kind for kind in KINDS if random.random() < 0.4] or [Kind.KILL_AT_EFFECT]
    faults = [_fault(random, random.choice(kinds), shards) for _ in range(random.choice((0, 2, 4, 8, 14)))]
    faults.append(_fault(random, Kind.CLOCK, shards))  # in every run
    # Drawn apart, so that the rest of a plan does not depend on it.
    own_random = Random(f"in flight {seed}")
    stats_answer = own_random.random() < 0.5
    faults += _stalls(own_random, stats_answer)
    key_random = Random(f"keys {seed}")
    keeps_answers = key_random.random() < 0.4
    if key_random.random() < 0.3:
        faults += [
            _fault(key_random, key_random.choice(SERVER_ERRORS), shards)
            for _ in range(key_random.choice((1, 3)))
        ]
    faults += _republishes(Random(f"republish {seed}")) + _changes(Random(f"changes {seed}"))
    refusals, refuses = _refusals(Random(f"what is refused {seed}"), videos)
    faults += refusals
    faults.sort(key=lambda fault: fault.at_ms)
    heals_ms = max((fault.at_ms + fault.lasts_ms for fault in faults), default=0)
    # The plays after the faults show that everything works again: their deadlines hold. Some come so late
    # that the ids of the first plays were forgotten meanwhile.
    calm_ms = max(heals_ms, BUSY_MS) + 3500 + random.choice((0, 0, 25_000))
    busy, bad = random.choice((15, 30, 60)), random.choice((0.02, 0.02, 0.3))
    plays = _plays(random, videos, 0, BUSY_MS, busy, bad)
    plays += _plays(random, videos, calm_ms, 1500, busy // 2, bad)
    plan = Plan(
        luck=random.getrandbits(64),
        shards=shards,
        videos=videos,
        every_play=random.random() < 0.25,
        linger_ms=random.choice((0, 0, 50)),
        window_ms=random.choice((20_000, 3_600_000)),
        max_in_flight=random.choice((4, 16, 64)),
        latency_ms=random.choice((2, 20, 80)),
        drains=random.random() < 0.3,
        plays=tuple(sorted(plays, key=lambda play: play.at_ms)),
        faults=tuple(faults),
        stats_answer=stats_answer,
        keeps_answers=keeps_answers,
        backlog_plays=2 if seed % 2 else 256,  # few plays come at a time: few are a backlog, too
        recall_videos=2 if seed % 3 else 256,  # few are pending: a recall of few has many pieces, too
        **_at_once(Random(f"at once {seed}")) | refuses | _identities(Random(f"identities {seed}")),
    )
    if plan.every_play:  # each step is a publish: they need more attempts than few a second
        plan = structs.replace(plan, rate_max_per_s=0)
    if any(one.kind in CHANGES[1:] for one in faults):  # a short window could be over
        plan = structs.replace(plan, window_ms=3_600_000)
    if plan.every_play or plan.width_max:
        plan = structs.replace(plan, faults=tuple(one for one in plan.faults if one.who != RATE))
    plan = _failing(Random(f"fails {seed}"), plan)
    if seed % SEVERAL_EVERY == 1:
        plan = _with_consumers(Random(f"consumers {seed}"), plan)
    return _with_play_ids(Random(f"play ids {seed}"), plan) if seed % PLAY_IDS_EVERY == 0 else plan


def _identities(random: Random) -> dict[str, bool]:
    """Whether each nsqd has a node id of its own, and tells it."""
    return {"moves": random.random() < 0.5, "nodes_are_told": random.random() < 0.5}


def _at_once(random: Random) -> dict[str, int]:
    """How many batches may be on their way at once, and how many attempts may leave."""
    return {
        "in_flight_max": random.choice((1, 2, 8)),
        "realtime_wait_ms": random.choice((0, 30)),
        "rate_max_per_s": random.choice((0, 0, 0, 3)),
    }


def _fault(random: Random, kind: Kind, shards: int) -> Fault:
    at_ms = random.randrange(BUSY_MS)
    who = random.choice(["consumer", "dispatcher", *(f"counter-{n}" for n in range(shards))])
    match kind:
        case Kind.KILL_AT_EFFECT:
            effect = random.choice(EFFECTS[who.partition("-")[0]])
            return Fault(kind, at_ms, who, effect=effect, after=random.random() < 0.5)
        case Kind.KILL:
            return Fault(kind, at_ms, who)
        case Kind.STOP:
            return Fault(kind, at_ms, who, lasts_ms=random.choice((200, 1200, 2500, 4000)))
        case Kind.DISK:
            return Fault(kind, at_ms, who, lasts_ms=random.choice((200, 1200, 4000, 15_000)))
        case Kind.CUT | Kind.REDELIVER | Kind.NSQD_RESTART:
            return Fault(kind, at_ms, f"{random.randrange(QUEUES)}", amount=random.choice((0, 2, 30)))
        case Kind.NSQD_CLOCK:
            # In steps of the instants at which plays come: so it gives the same ids again.
            back_ms = random.choice((100, 300, 1000))
            return Fault(kind, at_ms, f"{random.randrange(QUEUES)}", amount=back_ms)
        case Kind.CLIENT_SLOW:
            return Fault(kind, at_ms, lasts_ms=random.randrange(2000), amount=random.choice((300, 1500)))
        case Kind.CLOCK:
            jump_ms = random.choice((-3_600_000, -3000, -400, 400, 3000, 3_600_000))
            return Fault(kind, at_ms, lasts_ms=random.choice((100, 1500)), amount=jump_ms)
        case Kind.KILL_ALL:
            return Fault(kind, at_ms)
        case _:
            return Fault(kind, at_ms, lasts_ms=random.randrange(2000))


def _stalls(random: Random, stats_answer: bool) -> list[Fault]:
    """Faults of an nsqd's count of messages in flight. Only /stats shows a count that nothing explains."""
    if random.random() < 0.7:
        return []
    faults = [
        Fault(Kind.NSQD_CRASH, random.randrange(BUSY_MS), "0", STALLS_FOR_MS, random.choice((2, 5, 30)))
    ]
    if stats_answer:
        at_ms, leaked = random.randrange(BUSY_MS), random.choice((1, 4, 100))
        faults.append(Fault(Kind.LEAK, at_ms, "1", STALLS_FOR_MS, leaked))
    if random.random() < 0.3:
        faults.append(Fault(Kind.KILL_AT_EFFECT, faults[0].at_ms, "consumer", effect="Reconnect", after=True))
    return faults


def _refusals(random: Random, videos: int) -> tuple[list[Fault], dict[str, Any]]:
    """What the client refuses, for a while or for ever, with kills in the middle of it."""
    if random.random() < 0.65:
        return [], {}
    number = min(random.choice((0, 1, 1, 2)), videos - 1)
    refuses: dict[str, Any] = {
        "refused": tuple(sorted(random.sample(range(videos), number))),
        "width_max": random.choice((0, 0, 2, 7)),
        "conflicts": random.random() < 0.5,
    }
    if refuses["width_max"]:
        refuses["rate_max_per_s"] = 0  # narrow batches need more attempts than few a second
    faults = []
    for kind in random.choice(((), REFUSALS[:1], REFUSALS[1:], REFUSALS)):
        amount = random.randrange(videos) if kind is Kind.CLIENT_PICKY else random.choice((401, 404, 422))
        faults.append(Fault(kind, random.randrange(BUSY_MS), lasts_ms=random.randrange(2500), amount=amount))
    if refuses["conflicts"]:
        faults.append(Fault(Kind.CLIENT_SLOW, random.randrange(BUSY_MS), lasts_ms=1500, amount=1500))
    for _ in range(random.choice((0, 1, 3))):
        effect, after = random.choice(REFUSAL_EFFECTS), random.random() < 0.5
        at_ms = random.randrange(BUSY_MS)
        faults.append(Fault(Kind.KILL_AT_EFFECT, at_ms, "dispatcher", effect=effect, after=after))
    return faults, refuses


def _failing(random: Random, plan: Plan) -> Plan:
    """A client that fails on some videos without saying so, and takes others between its failures."""
    if random.random() < 0.5 or plan.videos < 45:  # more than could be in a batch with one of these
        return plan
    names = random.sample(range(plan.videos), random.choice((1, 1, 2)))
    fails = tuple((name, random.choice(FAILS)) for name in names if name not in plan.refused)
    others = [name for name in range(plan.videos) if name not in names and name not in plan.refused]
    tail = [
        Play(at_ms, random.randrange(QUEUES), random.choice(others))
        for at_ms in range(plan.ends_ms + 100, plan.ends_ms + TAIL_MS, 400)
    ]
    return structs.replace(plan, fails=fails, drains=False, plays=(*plan.plays, *tail))


def _with_consumers(random: Random, plan: Plan) -> Plan:
    """Two or three consumers. A fault of the consumer is one of theirs."""
    consumers = random.choice((2, 3))
    names = consumers_of(consumers)
    faults = tuple(
        structs.replace(one, who=random.choice(names))
        if is_consumer(one.who) and one.kind is not Kind.PAUSE
        else one
        for one in plan.faults
    )
    return structs.replace(plan, consumers=consumers, faults=faults)


def _with_play_ids(random: Random, plan: Plan) -> Plan:
    """Plays with ids. Producers publish some of them again: at once or later, to the same nsqd or another.

    Some ids are used for several videos: those are several plays.
    """
    plays: list[Play] = []
    for number, play in enumerate(plan.plays, 1):
        named = structs.replace(play, play_id=random.randint(1, number) if random.random() < 0.1 else number)
        for _ in range(random.choice((0, 0, 0, 1, 2)) if play.video != BAD else 0):
            at_ms = play.at_ms + random.choice((0, 0, 1, 100, 900, 3000))
            age_ms = play.age_ms if random.random() < 0.5 else 0
            plays.append(structs.replace(named, at_ms=at_ms, queue=random.randrange(QUEUES), age_ms=age_ms))
        plays.append(named)
    plays.sort(key=lambda play: play.at_ms)
    # A short window could be over before the last copy comes.
    return structs.replace(plan, play_ids=True, plays=tuple(plays), window_ms=3_600_000)


def _republishes(random: Random) -> list[Fault]:
    """Requests to publish all totals again, with kills in the middle of them."""
    if random.random() < 0.6:
        return []
    faults = [Fault(Kind.REPUBLISH, random.randrange(1000, BUSY_MS)) for _ in range(random.choice((1, 1, 2)))]
    for _ in range(random.choice((0, 1, 3))):
        who = random.choice(list(REPUBLISH_EFFECTS))
        effect, after = random.choice(REPUBLISH_EFFECTS[who]), random.random() < 0.5
        faults.append(Fault(Kind.KILL_AT_EFFECT, faults[0].at_ms, who, effect=effect, after=after))
    return faults


def _changes(random: Random) -> list[Fault]:
    """Pauses and changes of settings, with kills in the middle of them."""
    if random.random() < 0.6:
        return []
    faults = []
    for _ in range(random.choice((1, 2, 4))):
        at_ms = random.randrange(BUSY_MS)
        if random.random() < 0.6:
            who, lasts_ms = random.choice(("consumer", "dispatcher")), random.choice((50, 700, 3000))
            faults.append(Fault(Kind.PAUSE, at_ms, who, lasts_ms))
            if random.random() < 0.4:
                faults.append(Fault(Kind.KILL, at_ms + lasts_ms // 2, who))
        else:
            name = random.choice(list(SET_VALUES))
            faults.append(Fault(Kind.SET, at_ms, name, amount=random.choice(SET_VALUES[name])))
    return faults


def _plays(random: Random, videos: int, start_ms: int, lasts_ms: int, number: int, bad: float) -> list[Play]:
    plays: list[Play] = []
    while len(plays) < number:
        # The same instants for both queues, so that both give the same ids.
        at_ms = start_ms + random.randrange(lasts_ms) // 100 * 100
        for _ in range(random.choice((1, 1, 3, videos))):
            video = BAD if random.random() < bad else random.randrange(videos)
            age_ms = random.choice((0, 0, 0, 0, 0, 700, 5000))
            plays.append(Play(at_ms, random.randrange(QUEUES), video, age_ms))
    return plays
