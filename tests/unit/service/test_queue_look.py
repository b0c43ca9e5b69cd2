"""When the service looks: after the request, one look at a time, and for a second at most."""

import asyncio
import http.server
import itertools
import json
import socket
import threading
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from actors.config import Settings
from actors.config.sections import EmbeddedNsqdSection, NsqSection
from actors.core.stats import ConsumerStats, CounterStats, DispatcherStats, NsqdStats, PublishStats, encode
from actors.service.progress import why_not_caught_up
from actors.service.queue_look import APART_S, Looks, QueueLooks, nsqds_known
from actors.supervision.states import State
from tests.support.patience import PATIENCE_S
from tests.support.queues import free_ports

CONNECTED = ConsumerStats(outstanding=0, connections=1, ready_count=10)
COUNTER = CounterStats(5, 0, 0, 3, 0)
DISPATCHER = DispatcherStats(
    **dict.fromkeys(DispatcherStats.__struct_fields__, 0)
    | {"circuit": "closed", "refused_videos": [], "published": PublishStats()}
)
EMPTY = {"topic_name": "plays", "depth": 0, "paused": False, "channels": []}
CHANNEL = {
    "channel_name": "playtally",
    "depth": 0,
    "in_flight_count": 0,
    "deferred_count": 0,
    "paused": False,
}


class FakeNsqd:
    """The HTTP of an nsqd, and whether it answers. `tcp_port`: what /info says."""

    def __init__(self, tcp_port=4150):
        self.answers, self.asked, self.depth = True, 0, 0
        self.producers = []  # what it says if it is asked as an nsqlookupd
        self.clients = 0  # how many read our channel
        nsqd = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                nsqd.asked += 1
                if not nsqd.answers:
                    nsqd.waiting.wait(PATIENCE_S)
                    return
                told = {"tcp_port": tcp_port, "producers": nsqd.producers}
                if self.path.startswith("/stats"):
                    channels = [CHANNEL | {"client_count": nsqd.clients}] if nsqd.clients else []
                    told = {"topics": [EMPTY | {"depth": nsqd.depth, "channels": channels}]}
                body = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.waiting = threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.port = self.server.server_address[1]
        self.address = f"127.0.0.1:{self.port}"

    def close(self):
        self.waiting.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def nsqd():
    fake = FakeNsqd()
    yield fake
    fake.close()


def settings_for(*http_addresses, tcp=None):
    tcp = tcp or [f"127.0.0.1:{4150 + number}" for number in range(len(http_addresses))]
    return Settings(nsq=NsqSection(nsqd_tcp_addresses=tcp, nsqd_http_addresses=list(http_addresses)))


def worker(child_id, stats, state=State.RUNNING):
    return SimpleNamespace(spec=SimpleNamespace(id=child_id), stats=stats and encode(stats), state=state)


class FakeApplication:
    """Children that answer a poll with these stats, once they may. `polls`: how many polls began."""

    def __init__(self, settings, **stats):
        self.options = settings
        self.polls = self.polls_now = self.polls_at_once = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.answers = {
            "consumer": CONNECTED,
            "counter-0": COUNTER,
            "counter-1": COUNTER,
            "dispatcher": DISPATCHER,
        } | stats

    def workers(self):
        return [worker(child_id, stats) for child_id, stats in self.answers.items() if stats]

    async def poll(self, groups):
        self.polls += 1
        self.polls_now += 1
        self.polls_at_once = max(self.polls_at_once, self.polls_now)
        await self.may_answer.wait()
        self.polls_now -= 1
        return {one: encode(self.answers[one]) for group in groups for one in group if self.answers[one]}


POLLED = [["consumer"], ["counter-0", "counter-1"], ["dispatcher"]]


def in_a_loop(work):
    """Run `work`. Nothing may be left to the loop's handler, because the service ends then."""
    unhandled = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        found = await work()
        await asyncio.sleep(0.05)
        return found

    found = asyncio.run(asyncio.wait_for(main(), PATIENCE_S))
    assert unhandled == []
    return found


def test_a_look_asks_the_nsqds_and_then_the_children(nsqd):
    nsqd.depth = 3
    look = in_a_loop(Looks(FakeApplication(settings_for(nsqd.address)), POLLED).fresh)
    assert (look.depth, look.connections, look.silent, look.knows_queue) == (3, 1, [], True)
    assert set(look.heard) == {"consumer", "counter-0", "counter-1", "dispatcher"}


def test_a_child_that_does_not_answer_is_silent(nsqd):
    application = FakeApplication(settings_for(nsqd.address), **{"counter-1": None})
    assert in_a_loop(Looks(application, POLLED).fresh).silent == ["counter-1"]


def test_calls_during_a_look_share_the_next_one_and_never_get_one_that_began_before(nsqd):
    application = FakeApplication(settings_for(nsqd.address))
    looks = Looks(application, POLLED)

    async def work():
        application.may_answer.clear()
        first = [asyncio.ensure_future(looks.fresh()) for _ in range(5)]
        while application.polls == 0:
            await asyncio.sleep(0.01)
        second = [asyncio.ensure_future(looks.fresh()) for _ in range(5)]
        for _ in range(3):  # a second look at the same time would ask the nsqd now
            await asyncio.wait(second, timeout=0.05)
        application.may_answer.set()
        return await asyncio.gather(*first), await asyncio.gather(*second), await looks.fresh()

    first, second, third = in_a_loop(work)
    assert len({id(one) for one in first}) == len({id(one) for one in second}) == 1
    assert len({id(one) for one in (*first, *second, third)}) == 3
    assert (application.polls, application.polls_at_once) == (3, 1)


def test_looks_begin_at_most_twenty_times_a_second(nsqd):
    application = FakeApplication(settings_for(nsqd.address))
    looks = Looks(application, POLLED)
    began_s = []

    async def work():
        ask = looks._queue.ask

        async def noted(*arguments):
            began_s.append(looks._began_s)  # on a busy machine, this line is late
            return await ask(*arguments)

        looks._queue.ask = noted
        for _ in range(6):
            await asyncio.gather(*(looks.fresh() for _ in range(3)))

    in_a_loop(work)
    assert len(began_s) == 6
    assert min(after - before for before, after in itertools.pairwise(began_s)) >= 0.999 * APART_S


def test_a_caller_that_goes_away_takes_the_look_from_no_other(nsqd):
    looks = Looks(FakeApplication(settings_for(nsqd.address)), POLLED)

    async def work():
        gone, stays = (asyncio.ensure_future(looks.fresh()) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert in_a_loop(work).connections == 1


def test_an_nsqd_that_answered_before_and_does_not_now_is_missed(nsqd):
    never = FakeNsqd()
    never.answers = False
    looks = Looks(FakeApplication(settings_for(nsqd.address, never.address)), POLLED)

    async def work():
        before = await looks.fresh()
        nsqd.answers = False
        return before, await looks.fresh()

    before, after = in_a_loop(work)
    never.close()
    assert [(one.queue is not None, one.missed) for one in before.nsqds] == [(True, False), (False, False)]
    assert [(one.queue is not None, one.missed) for one in after.nsqds] == [(False, True), (False, False)]


def test_the_embedded_nsqd_can_always_be_asked():
    away = f"127.0.0.1:{closed_port()}"
    embedded = EmbeddedNsqdSection(tcp_address="127.0.0.1:4150", http_address=away)
    look = in_a_loop(Looks(FakeApplication(Settings(embedded_nsqd=embedded)), POLLED).fresh)
    assert [one.missed for one in look.nsqds] == [True]


def test_an_nsqd_that_is_found_during_a_look_was_not_asked_and_counts_as_missed():
    queue = QueueLooks()
    found = NsqdStats("a:4150", "a:4151", connected=True, ready_count=1, in_flight=0)
    assert [one.missed for one in queue.seen([found], {})] == [True]
    assert [one.missed for one in queue.seen([found], {"a:4150": None})] == [False]


@pytest.mark.parametrize("says", ["ours", "another's", "nothing"])
def test_the_next_port_is_believed_only_if_it_says_our_tcp_port(says):
    nsqd = FakeNsqd()
    tcp_port = nsqd.port - 1
    nsqd.close()
    nsqd = FakeNsqdAt(nsqd.port, {"ours": tcp_port, "another's": 4150, "nothing": None}[says])
    application = FakeApplication(settings_for(tcp=[f"127.0.0.1:{tcp_port}"]))
    looks = Looks(application, POLLED)

    async def work():
        return await looks.fresh(), await looks.fresh()

    try:
        for look in in_a_loop(work):
            assert look.knows_queue is (says == "ours")
    finally:
        nsqd.close()


class FakeNsqdAt(FakeNsqd):
    """A `FakeNsqd` on a certain port."""

    def __init__(self, port, tcp_port):
        super().__init__(tcp_port)
        handler = self.server.RequestHandlerClass
        self.close()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_a_guess_that_was_wrong_is_tried_again_and_no_later_look_waits_for_it():
    port = closed_port()
    looks = Looks(FakeApplication(settings_for(tcp=[f"127.0.0.1:{port - 1}"])), POLLED)

    async def work():
        before = await looks.fresh()
        nsqd = FakeNsqdAt(port, port - 1)
        try:
            for _ in range(1000):
                look = await looks.fresh()
                if look.knows_queue:
                    return before, look
                await asyncio.sleep(0.01)
        finally:
            nsqd.close()
        raise AssertionError("the guess was not tried again")

    before, after = in_a_loop(work)
    assert not before.knows_queue and after.depth == 0


def test_a_name_server_that_hangs_ends_no_loop_and_holds_up_no_end(monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer.wait(PATIENCE_S) and [])
    looks = Looks(FakeApplication(settings_for("nsqd.example:4151", tcp=["nsqd.example:4150"])), POLLED)
    look = in_a_loop(looks.fresh)  # returns although the thread still waits for the name server
    answer.set()
    assert not look.knows_queue


def closed_port():
    (port,) = free_ports(1)
    return port


@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True), (True, True)])
def test_our_connection_that_comes_or_goes_during_a_look_is_not_anothers(nsqd, before, after):
    address = "a:4150"
    told = {is_up: consumer_of(replace(read_from(nsqd, address), connected=is_up)) for is_up in (True, False)}

    class ChangesInTheMiddle(FakeApplication):
        async def poll(self, groups):
            self.answers["consumer"] = told[after]
            return await super().poll(groups)

    nsqd.clients = 1
    settings = settings_for(nsqd.address, tcp=[address])
    look = in_a_loop(Looks(ChangesInTheMiddle(settings, consumer=told[before]), POLLED).fresh)
    assert [one.nsqd.connected for one in look.nsqds] == [after]
    assert look.others == 0


# nsqds that come and go


def consumer_of(*nsqds):
    return ConsumerStats(0, len(nsqds), 1, list(nsqds))


def read_from(nsqd, address="a:4150", **more):
    return NsqdStats(address, nsqd.address, True, 1, 0, **more)


def test_an_nsqd_that_nsqlookupd_names_and_the_consumer_has_not_found_yet_is_not_caught_up(nsqd):
    nsqd.producers = [
        {"broadcast_address": host, "tcp_port": 4150, "http_port": 4151} for host in ("a", "b", "c")
    ]
    hung = FakeNsqd()
    hung.answers = False
    settings = Settings(nsq=NsqSection(lookupd_http_addresses=[hung.address, nsqd.address]))
    known = read_from(nsqd, names=["a:4150", "c:4150"])  # c is another name of a
    application = FakeApplication(settings, consumer=consumer_of(known))
    look = in_a_loop(Looks(application, POLLED).fresh)
    hung.close()
    assert [(one.nsqd.address, one.nsqd.connected) for one in look.nsqds] == [
        ("a:4150", True),
        ("b:4150", False),
    ]
    assert "nsqd b:4150 is not connected" in why_not_caught_up(look)


def test_an_nsqd_that_has_gone_is_asked_on_and_is_unknown_if_it_does_not_answer(nsqd):
    gone = FakeNsqd()
    gone.depth = 3
    stays, goes = read_from(nsqd), read_from(gone, "b:4150")
    application = FakeApplication(settings_for(tcp=["a:4150"]), consumer=consumer_of(stays, goes))
    looks = Looks(application, POLLED)

    async def work():
        found = [await looks.fresh()]
        application.answers["consumer"] = consumer_of(stays)
        for held, answers in ((3, True), (0, True), (0, False)):
            gone.depth, gone.answers = held, answers
            found.append(await looks.fresh())
        return found

    there, full, empty, silent = in_a_loop(work)
    gone.close()
    assert (there.gone, [one.address for one in full.gone]) == ([], ["b:4150"])
    assert why_not_caught_up(full) == ["3 messages on nsqd b:4150 (no nsqlookupd names it)"]
    assert why_not_caught_up(empty) == []
    assert why_not_caught_up(silent) == ["nsqd b:4150 has gone and may hold plays"]


def test_an_nsqd_that_comes_and_goes_between_two_looks_is_noted(nsqd):
    application = FakeApplication(settings_for(tcp=["a:4150"]), consumer=consumer_of(read_from(nsqd)))
    looks = Looks(application, POLLED)

    async def work():
        for more in ([], [NsqdStats("b:1", "", True, 1, 0)], []):
            application.answers["consumer"] = consumer_of(read_from(nsqd), *more)
            for told in application.workers():
                looks.told(told)
        return await looks.fresh()

    assert why_not_caught_up(in_a_loop(work)) == ["nsqd b:1 has gone and may hold plays"]


def test_an_http_address_that_is_another_nsqds_is_not_asked_and_our_side_alone_decides(nsqd):
    nsqd.depth = 3
    wrong = NsqdStats("a:4150", "", True, 1, 0, wrong_http=nsqd.address)
    application = FakeApplication(settings_for(nsqd.address, tcp=["a:4150"]), consumer=consumer_of(wrong))
    looks = Looks(application, POLLED)

    async def work():
        application.answers["consumer"] = consumer_of(read_from(nsqd))
        before = await looks.fresh()
        application.answers["consumer"] = consumer_of(wrong)
        return before, await looks.fresh(), await looks.fresh()

    before, *looked = in_a_loop(work)
    assert before.depth == 3
    for look in looked:
        assert (look.depth, look.knows_queue, why_not_caught_up(look)) == (None, False, [])


# Which nsqds there are


def test_the_nsqds_are_those_that_the_consumer_knows_else_those_of_the_settings():
    settings = settings_for("a:4151", "b:4151", tcp=["a:4150", "b:4150"])
    (a, b) = nsqds_known(settings, ConsumerStats(0, 2, 0))
    assert (a.address, a.http_address, a.connected) == ("a:4150", "a:4151", True)
    assert (b.address, b.http_address, b.connected) == ("b:4150", "b:4151", True)
    assert not any(one.connected for one in nsqds_known(settings, ConsumerStats(0, 1, 0)))
    told = [NsqdStats("b:4150", "", True, 1, 0), NsqdStats("c:1", "c:2", True, 1, 0)]
    assert [one.http_address for one in nsqds_known(settings, ConsumerStats(0, 2, 0, told))] == [
        "b:4151",
        "c:2",
    ]
    assert nsqds_known(Settings(), CONNECTED)[0].http_address == "127.0.0.1:4151"
