"""Conversations in which messages are delivered."""

from collections.abc import Callable

from tests.conformance.conversation import Conversation, Talk
from tests.support.patience import wait_until
from tests.support.queues import multi, sized

DELIVERIES: list[Conversation] = []
_PUB = b"PUB {topic}\n"


def _conversation(play: Callable[[Talk], None]) -> None:
    """Add a function, whose docstring is the name."""
    DELIVERIES.append(Conversation((play.__doc__ or "").removesuffix("."), play))


def _waits(play: Callable[[Talk], None]) -> None:
    """Add one that waits: nsqd looks at a new channel's timeouts up to 5 s later."""
    DELIVERIES.append(Conversation((play.__doc__ or "").removesuffix("."), play, waits=True))


def _published(talk: Talk, *bodies: bytes, channel: str = "c") -> None:
    """Messages that wait in the channel."""
    talk.post("/topic/create?topic={topic}")
    talk.post(f"/channel/create?topic={{topic}}&channel={channel}")
    for body in bodies:
        talk.post("/pub?topic={topic}", body)
    talk.until(lambda topic: topic["channels"][0]["depth"] == len(bodies))


@_conversation
def _(talk: Talk) -> None:
    """a message is delivered, finished, and gone."""
    _published(talk, b"one")
    talk.subscriber().hears().say(b"FIN {id0}\n").hears_nothing().ends()
    talk.stats()


@_conversation
def _(talk: Talk) -> None:
    """messages come in their order, as many as RDY says."""
    _published(talk, b"one", b"two", b"three")
    client = talk.subscriber(2).hears(2).hears_nothing()
    client.say(b"FIN {id0}\n").hears().say(b"FIN {id1}\nFIN {id2}\n").ends()


@_conversation
def _(talk: Talk) -> None:
    """no message comes before RDY."""
    _published(talk, b"one")
    talk.subscriber(0).hears_nothing().say(b"RDY 1\n").hears().ends()


@_conversation
def _(talk: Talk) -> None:
    """RDY 0 stops what comes."""
    _published(talk, b"one", b"two")
    talk.subscriber(1).hears().say(b"RDY 0\nFIN {id0}\n").hears_nothing().say(b"RDY 1\n").hears().ends()


@_conversation
def _(talk: Talk) -> None:
    """FIN twice."""
    _published(talk, b"one")
    talk.subscriber().hears().say(b"FIN {id0}\nFIN {id0}\n").hears().ends()


@_conversation
def _(talk: Talk) -> None:
    """a message that is requeued comes again with one attempt more."""
    _published(talk, b"one")
    talk.subscriber().hears().say(b"REQ {id0} 0\n").hears().say(b"REQ {id0} 0\n").hears().ends()


@_waits
def _(talk: Talk) -> None:
    """a message that is requeued with a delay comes after it."""
    _published(talk, b"one", b"two")
    client = talk.subscriber().hears().say(b"REQ {id0} 400\n").hears()
    client.say(b"FIN {id1}\n").hears_nothing(0.2).hears().ends()


@_conversation
def _(talk: Talk) -> None:
    """REQ and FIN of a message that was requeued."""
    _published(talk, b"one")
    talk.subscriber().hears().say(b"REQ {id0} 60000\nREQ {id0} 0\nFIN {id0}\nTOUCH {id0}\n").hears(3).ends()


@_waits
def _(talk: Talk) -> None:
    """a message that is not finished in time comes again with one attempt more."""
    _published(talk, b"one")
    talk.subscriber(msg_timeout=1000).hears().hears_nothing(0.8).hears().ends()


@_waits
def _(talk: Talk) -> None:
    """a message that is touched comes again later."""
    _published(talk, b"one")
    client = talk.subscriber(msg_timeout=1000).hears().hears_nothing(0.6)
    client.say(b"TOUCH {id0}\n").hears_nothing(0.8).hears().ends()


@_waits
def _(talk: Talk) -> None:
    """FIN of a message that has timed out and come again."""
    _published(talk, b"one")
    talk.subscriber(msg_timeout=1000).hears(2).say(b"FIN {id0}\n").ends()


@_conversation
def _(talk: Talk) -> None:
    """FIN, REQ and TOUCH of another client's message."""
    _published(talk, b"one")
    first = talk.subscriber(1).hears()
    second = talk.subscriber(0).say(b"FIN {id0}\nREQ {id0} 0\nTOUCH {id0}\n").hears(3)
    first.say(b"FIN {id0}\n").ends()
    second.ends()


@_waits
def _(talk: Talk) -> None:
    """a message that was in flight to a client that left."""
    _published(talk, b"one")
    talk.subscriber(1, msg_timeout=1000).hears().leaves()
    client = talk.subscriber(1).hears_nothing(0.3)
    if talk.transcript[-1].endswith("nothing"):
        client.hears()
    client.ends()


@_conversation
def _(talk: Talk) -> None:
    """a client that closes can finish, and gets no more."""
    _published(talk, b"one", b"two")
    talk.subscriber(1).hears().say(b"CLS\n").hears().say(b"FIN {id0}\nFIN {id0}\nRDY 1\n").hears()
    talk.stats("&include_clients=false")


@_conversation
def _(talk: Talk) -> None:
    """two channels get a copy each, with the same id."""
    for channel in ("c", "d"):
        talk.post("/topic/create?topic={topic}")
        talk.post(f"/channel/create?topic={{topic}}&channel={channel}")
    talk.post("/pub?topic={topic}", b"one")
    for channel in (b"c", b"d"):
        talk.subscriber(1, channel).hears().say(b"FIN {id0}\n").ends()


@_conversation
def _(talk: Talk) -> None:
    """a message of no channel waits for the first."""
    talk.post("/pub?topic={topic}", b"one")
    talk.subscriber(1).hears().say(b"FIN {id0}\n").ends()


@_waits
def _(talk: Talk) -> None:
    """a delayed message comes after its delay."""
    _published(talk)
    client = talk.subscriber(1).say(b"DPUB {topic} 500\n" + sized(b"late")).hears()
    client.hears_nothing(0.3).hears().say(b"FIN {id0}\n").ends()


@_conversation
def _(talk: Talk) -> None:
    """a delayed message of a topic without a channel."""
    talk.client().say(b"DPUB {topic} 60000\n" + sized(b"late")).ends()
    talk.subscriber(1).hears_nothing()
    talk.until(lambda topic: topic["channels"][0]["deferred_count"] == 1)
    talk.stats("&include_clients=false")


@_conversation
def _(talk: Talk) -> None:
    """the largest message."""
    _published(talk)
    client = talk.subscriber(1).say(_PUB + sized(b"x" * 1024 * 1024)).hears(2)
    client.say(b"FIN {id0}\n").ends()


@_conversation
def _(talk: Talk) -> None:
    """MPUB of three is delivered in its order."""
    _published(talk)
    talk.subscriber(3).say(b"MPUB {topic}\n" + sized(multi([b"one", b"two", b"three"]))).hears(4).ends()


@_conversation
def _(talk: Talk) -> None:
    """a sample of one in a hundred, and what is left."""
    _published(talk, *(b"%d" % number for number in range(3)))
    talk.identified(sample_rate=99).say(b"SUB {topic} c\nCLS\n").hears(2).ends()


@_waits
def _(talk: Talk) -> None:
    """a client that answers heartbeats stays."""
    client = talk.subscriber(1, heartbeat_interval=1000)
    client.hears_nothing(2.7).ends()


@_waits
def _(talk: Talk) -> None:
    """a client that does not answer heartbeats is dropped."""
    client = talk.subscriber(1, heartbeat_interval=1000)
    client.answers_heartbeats = False
    client.hears_all()
    # The second heartbeat is due when the client is: nsqd sends it or not.
    heard = [line for line in talk.transcript if "_heartbeat_" not in line]
    talk.transcript[:] = heard


@_conversation
def _(talk: Talk) -> None:
    """an ephemeral channel goes with its last client."""
    talk.post("/topic/create?topic={topic}")
    talk.subscriber(1, b"c#ephemeral").leaves()
    talk.until(lambda topic: not topic["channels"])
    talk.stats()


@_conversation
def _(talk: Talk) -> None:
    """an ephemeral channel that no client ever joined stays."""
    talk.post("/topic/create?topic={topic}")
    talk.post("/channel/create?topic={topic}&channel=c%23ephemeral")
    talk.stats()


@_conversation
def _(talk: Talk) -> None:
    """an ephemeral topic goes with its last channel."""
    talk.client().say(b"SUB {topic}#ephemeral c#ephemeral\n").hears().leaves()
    wait_until(lambda: talk.queue.topic(f"{talk.topic}%23ephemeral") is None, "the topic to go")
    talk.http("GET", "/stats?format=json&include_mem=false&topic={topic}%23ephemeral")


@_conversation
def _(talk: Talk) -> None:
    """what an ephemeral channel has no room for is dropped."""
    talk.post("/topic/create?topic={topic}")
    talk.post("/channel/create?topic={topic}&channel=c%23ephemeral")
    talk.client().say(b"MPUB {topic}\n" + sized(multi([b"x"] * 12_000))).ends()
    talk.until(lambda topic: topic["channels"][0]["message_count"] == 12_000)
    talk.stats()


@_conversation
def _(talk: Talk) -> None:
    """what waited for a first channel that is ephemeral."""
    talk.client().say(b"MPUB {topic}\n" + sized(multi([b"x"] * 12_000))).ends()
    talk.post("/channel/create?topic={topic}&channel=c%23ephemeral")
    talk.until(lambda topic: topic["channels"][0]["message_count"] == 12_000)
    talk.stats()


@_conversation
def _(talk: Talk) -> None:
    """what an ephemeral topic without a channel has no room for is dropped."""
    talk.client().say(b"MPUB {topic}#ephemeral\n" + sized(multi([b"x"] * 12_000))).ends()
    talk.http("GET", "/stats?format=json&include_mem=false&include_clients=0&topic={topic}%23ephemeral")


@_conversation
def _(talk: Talk) -> None:
    """the figures of a backlog, in memory and on disk."""
    talk.post("/pub?topic={topic}", b"of no channel")
    talk.stats()
    talk.post("/topic/empty?topic={topic}")
    _published(talk)
    talk.client().say(b"MPUB {topic}\n" + sized(multi([b"x"] * 12_000))).ends()
    talk.until(lambda topic: topic["channels"][0]["depth"] == 12_000)
    talk.stats()


@_conversation
def _(talk: Talk) -> None:
    """a paused channel gives nothing until it is unpaused."""
    _published(talk, b"one")
    talk.post("/channel/pause?topic={topic}&channel=c")
    client = talk.subscriber(1).hears_nothing()
    talk.stats("&include_clients=false")
    talk.post("/channel/unpause?topic={topic}&channel=c")
    client.hears().ends()


@_conversation
def _(talk: Talk) -> None:
    """a paused topic gives its channels nothing until it is unpaused."""
    _published(talk)
    talk.post("/topic/pause?topic={topic}")
    talk.post("/pub?topic={topic}", b"one")
    client = talk.subscriber(1).hears_nothing()
    talk.post("/topic/unpause?topic={topic}")
    client.hears().ends()


@_conversation
def _(talk: Talk) -> None:
    """an emptied channel forgets what is in flight."""
    _published(talk, b"one", b"two")
    client = talk.subscriber(1).hears()
    talk.post("/channel/empty?topic={topic}&channel=c")
    client.say(b"FIN {id0}\n").hears().ends()
    talk.stats("&include_clients=false")


@_conversation
def _(talk: Talk) -> None:
    """deleting a channel ends its clients' connections."""
    _published(talk, b"one")
    client = talk.subscriber(1).hears()
    talk.http("POST", "/channel/delete?topic={topic}&channel=c")
    client.hears_all()
    talk.stats()


@_conversation
def _(talk: Talk) -> None:
    """deleting a topic ends its clients' connections."""
    _published(talk, b"one")
    client = talk.subscriber(1).hears()
    talk.http("POST", "/topic/delete?topic={topic}")
    client.hears_all()
    talk.stats()


@_waits
def _(talk: Talk) -> None:
    """a body that comes byte by byte without end."""
    client = talk.identified(heartbeat_interval=1000).say(b"PUB {topic}\n\0\1\0\0")
    for _ in range(100):
        client.say(b"x").hears_nothing(0.1)
        if talk.transcript[-1].endswith("the end"):
            break
    talk.transcript[:] = talk.transcript[-1:]


@_conversation
def _(talk: Talk) -> None:
    """attempts after a clean restart."""
    _published(talk, b"in flight", b"requeued", b"timed out", b"never given")
    client = talk.subscriber(3).hears(3).say(b"REQ {id1} 60000\n")
    talk.until(lambda topic: topic["channels"][0]["deferred_count"] == 1)
    talk.queue.restart()
    client.hears_all()
    talk.subscriber(4).hears(4)
    talk.transcript[-4:] = sorted(talk.transcript[-4:])  # nsqd gives them in any order


@_conversation
def _(talk: Talk) -> None:
    """the figures after a clean restart."""
    _published(talk, b"one", b"two")
    talk.subscriber(1).hears().say(b"FIN {id0}\n").ends()
    talk.queue.restart()
    talk.stats()
