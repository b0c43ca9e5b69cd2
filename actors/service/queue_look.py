"""Looks at the queue, then at our children. `progress.py` says what a look means.

Promises: a look begins after the call that it answers. However many calls there are, one look goes on at a
time, and at most twenty begin in a second. All nsqds together have one second to answer, and each group of
children another. Nothing here blocks the supervisor.
"""

import asyncio

from msgspec.structs import replace

from ..config import Settings
from ..core.consumers import is_consumer
from ..core.stats import ConsumerStats, NsqdStats, decode
from ..sources.discovery import ask_for_topic
from ..sources.lookup import NSQDS_MAX, Found
from ..sources.nsqd_http import TIMEOUT_S, QueueStats, next_port, readers, stats
from ..sources.readers import OurEnds, client_id_of, others_of
from ..sources.security import PLAIN, Security
from ..supervision.application import Application
from ..supervision.worker import Worker
from ..system.host_name import host_name
from .consumers import told_by_consumers
from .gone import KnownNsqds
from .progress import GoneLook, Look, NsqdLook

SILENT_S = 0.1  # how long a look waits for an nsqlookupd that did not answer in the look before
APART_S = 0.05  # from the beginning of a look to that of the next one


class Looks:
    """The looks of a service. `polled`: the children with stats, in groups (see `Application.poll`)."""

    def __init__(
        self, application: Application[Settings], polled: list[list[str]], security: Security = PLAIN
    ):
        self._application = application
        self._polled = polled
        self._queue = QueueLooks(security)
        self._present: asyncio.Task[Look] | None = None
        self._next: asyncio.Task[Look] | None = None
        self._began_s = -APART_S

    def told(self, worker: Worker) -> None:
        """A child has told its stats. Note which nsqds a consumer knows of: one may go before a look."""
        if is_consumer(worker.spec.id):
            self._queue.note(told_by_consumers(self._application))

    async def fresh(self) -> Look:
        """Return a look that begins after this call. All calls during a look share the next one."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._look_after(self._present))
        return await asyncio.shield(self._next)

    async def _look_after(self, present: asyncio.Task[Look] | None) -> Look:
        if present is not None:
            await asyncio.wait([present])
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._began_s + APART_S - loop.time()))
        self._began_s = loop.time()
        self._present, self._next = self._next, None
        return await self._look()

    async def _look(self) -> Look:
        settings = self._application.options
        before = told_by_consumers(self._application)
        self._queue.note(before)
        known = nsqds_known(settings, before)
        asked, named = await asyncio.gather(self._queue.ask(settings, known), self._queue.named(settings))
        stats = await self._application.poll(self._polled)
        heard = {child_id: decode(one) for child_id, one in stats.items()}
        silent = [child_id for group in self._polled for child_id in group if child_id not in heard]
        consumer = told_by_consumers(self._application, heard)
        self._queue.note(consumer)
        now_known = nsqds_known(settings, consumer)
        # What was told at an HTTP address that is another one now is no answer of this nsqd.
        was_http = {one.address: one.http_address for one in known}
        for one in now_known:
            if was_http.get(one.address, "") not in ("", one.http_address):
                asked.pop(one.address)
        nsqds = self._queue.seen([*now_known, *_not_known(named, consumer)], asked)
        # Without an answer of a consumer, a connection of the next one would look like another's.
        consumers = settings.nsq.consumers
        ours = OurEnds(host_name(), _ends(before) | _ends(consumer), consumers=consumers)
        is_known = not any(map(is_consumer, silent))
        client_id = client_id_of(settings.supervisor.state_dir)
        had = {one.address: _connections(one) for one in known}
        nsqds = [_with_others(one, client_id, ours, is_known) for one in nsqds]
        nsqds = [
            replace(one, connections=max(_connections(one.nsqd), had.get(one.nsqd.address, 0)))
            for one in nsqds
        ]
        gone = self._queue.gone(asked)
        return Look(nsqds, consumer.connections, heard, silent, gone, consumer.unheard)


class QueueLooks:
    """Asks the nsqds, and remembers which of them can be asked. An nsqd is known by its "host:port"."""

    def __init__(self, security: Security = PLAIN) -> None:
        self._security = security
        self._guesses: dict[str, asyncio.Task[str]] = {}
        self._answered: set[str] = set()
        self._silent: set[str] = set()  # the nsqlookupds that did not answer in the last look
        self._known = KnownNsqds()

    def note(self, consumer: ConsumerStats) -> None:
        """Note which nsqds the consumer knows of."""
        self._known.told(consumer.nsqds, _now_s())

    async def named(self, settings: Settings) -> list[Found]:
        """Ask all nsqlookupds at once which nsqds have the topic. One that does not answer is left out."""
        lookupds = settings.nsq.lookupd_http_addresses
        answers = await asyncio.gather(*(self._ask_lookupd(settings.nsq.topic, one) for one in lookupds))
        return [one for answer in answers for one in answer]

    async def _ask_lookupd(self, topic: str, address: str) -> list[Found]:
        timeout_s = SILENT_S if address in self._silent else TIMEOUT_S
        try:
            named = await ask_for_topic(address, topic, timeout_s, self._security.lookupd_tls())
        except OSError:
            self._silent.add(address)
            return []
        self._silent.discard(address)
        return named.found

    async def ask(self, settings: Settings, nsqds: list[NsqdStats]) -> dict[str, QueueStats | None]:
        """Ask all nsqds at once what waits, and those that have gone. Returns what each said, or None."""
        nsqds = [*nsqds, *(one.nsqd for one in self._known.gone(_now_s()))]
        answers = await asyncio.gather(*(self._ask(settings, one) for one in nsqds))
        asked = {one.address: answer for one, answer in zip(nsqds, answers, strict=True)}
        # The embedded nsqd is ours, so it can be asked, even if it has not answered yet.
        can_be = {address for address, one in asked.items() if settings.embedded or one is not None}
        self._answered |= can_be
        for address, one in asked.items():
            if one is not None:
                self._known.answered(address, one.held, _now_s())
        return asked

    def gone(self, asked: dict[str, QueueStats | None]) -> list[GoneLook]:
        """Return the nsqds that have gone, with what each said."""
        gone = self._known.gone(_now_s())
        return [GoneLook(one.nsqd.address, one.is_unknown, asked.get(one.nsqd.address)) for one in gone]

    def seen(self, nsqds: list[NsqdStats], asked: dict[str, QueueStats | None]) -> list[NsqdLook]:
        """Join what the consumer says of each nsqd with what that nsqd said of the queue."""
        if nsqds:
            known = {one.address for one in nsqds} | self._known.addresses
            self._answered &= known
            self._guesses = {address: guess for address, guess in self._guesses.items() if address in known}
        return [self._seen(one, asked) for one in nsqds]

    def _seen(self, nsqd: NsqdStats, asked: dict[str, QueueStats | None]) -> NsqdLook:
        if nsqd.wrong_http:
            self._answered.discard(nsqd.address)
            return NsqdLook(nsqd)
        queue = asked.get(nsqd.address)
        # An nsqd that the consumer has found since the nsqds were asked counts as one that did not answer.
        missed = queue is None and (nsqd.address in self._answered or nsqd.address not in asked)
        return NsqdLook(nsqd, queue, missed)

    async def _ask(self, settings: Settings, nsqd: NsqdStats) -> QueueStats | None:
        found: QueueStats | None = None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                http_address = nsqd.http_address or await self._guess(nsqd.address)
                if not http_address or nsqd.wrong_http:
                    return None
                tls = self._security.nsqd_tls()
                found = await stats(http_address, settings.nsq.topic, settings.nsq.channel, tls)
                return await self._with_readers(found, http_address, settings, nsqd)
        except TimeoutError:
            return found

    async def _with_readers(
        self, found: QueueStats | None, http_address: str, settings: Settings, nsqd: NsqdStats
    ) -> QueueStats | None:
        """Ask who reads the channel, if the number of its consumers does not tell that only we do."""
        if found is None or found.clients <= _connections(nsqd):
            return found
        tls = self._security.nsqd_tls()
        all_readers = await readers(http_address, settings.nsq.topic, settings.nsq.channel, tls)
        if all_readers is None:
            return found
        return replace(found, readers=tuple(all_readers))

    async def _guess(self, address: str) -> str:
        """Return the HTTP address of an nsqd whose HTTP address nobody told; "" if the guess is wrong.

        Only the first look waits for the guess. After a wrong one, the next look has the next result.
        """
        guess = self._guesses.get(address)
        if guess is None:
            guess = self._guesses[address] = asyncio.ensure_future(
                next_port(address, self._security.nsqd_tls())
            )
            return await asyncio.shield(guess)
        found = guess.result() if guess.done() else ""
        if guess.done() and not found:
            self._guesses[address] = self._begin_guess(address)
        return found

    def _begin_guess(self, address: str) -> asyncio.Task[str]:
        return asyncio.ensure_future(next_port(address, self._security.nsqd_tls()))


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _not_known(named: list[Found], consumer: ConsumerStats) -> list[NsqdStats]:
    """The nsqds that an nsqlookupd names and of which the consumer does not know yet.

    It reads `NSQDS_MAX` at most. Of those beyond, one stands for all: nobody knows what waits there.
    """
    known = {name for one in consumer.nsqds for name in (one.address, *one.names)}
    found = {one.address: one for one in named if one.address not in known}
    few = list(found.values())[: max(1, NSQDS_MAX - len(consumer.nsqds))]
    return [NsqdStats(one.address, one.http_address, False, 0, 0) for one in few]


def _ends(consumer: ConsumerStats) -> frozenset[str]:
    return frozenset(end for one in consumer.nsqds for end in one.own_ends if end)


def _connections(nsqd: NsqdStats) -> int:
    """How many connections our consumers have to an nsqd."""
    return max(len(nsqd.own_ends), int(nsqd.connected))


def _with_others(look: NsqdLook, client_id: str, ours: OurEnds, is_known: bool) -> NsqdLook:
    """Add who else reads the channel. `ours`: our ends of all connections. `is_known`: these are all."""
    if look.queue is None or look.queue.readers is None:
        return look
    if is_known and _connections(look.nsqd) >= ours.consumers:
        ours = replace(ours, connected_s=look.nsqd.connected_ms / 1000)
    queue = replace(look.queue, others=others_of(look.queue.readers, client_id, ours))
    return replace(look, queue=queue)


def nsqds_known(settings: Settings, consumer: ConsumerStats) -> list[NsqdStats]:
    """Return every nsqd that plays come from, as the consumer says, or else as the settings say."""
    http = _http_addresses(settings)
    nsqds = consumer.nsqds or _from_settings(settings, consumer)
    return [
        one if one.http_address or one.wrong_http else replace(one, http_address=http.get(one.address, ""))
        for one in nsqds
    ]


def _from_settings(settings: Settings, consumer: ConsumerStats) -> list[NsqdStats]:
    addresses = settings.nsqd_addresses
    alone = len(addresses) == 1
    return [
        NsqdStats(
            address,
            http_address="",
            connected=consumer.connections >= len(addresses),
            ready_count=consumer.ready_count if alone else 0,
            in_flight=consumer.outstanding if alone else 0,
        )
        for address in addresses
    ]


def _http_addresses(settings: Settings) -> dict[str, str]:
    if settings.embedded:
        return {settings.embedded_nsqd.tcp_address: settings.embedded_nsqd.http_address}
    return dict(zip(settings.nsq.nsqd_tcp_addresses, settings.nsq.nsqd_http_addresses, strict=False))
