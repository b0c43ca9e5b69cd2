"""A whole service for a test, on the embedded queue or on a real nsqd."""

import contextlib
import json
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from actors.cli.launch import Service, produce, wait_for
from actors.core import guids
from actors.core.client.promises import Promise
from actors.store import TotalsReader
from tests.support.patience import PATIENCE_S
from tests.support.queues import QueueHttp, RawClient, open_queue

ANY_PORTS = [
    "embedded_nsqd.tcp_address=127.0.0.1:0",
    "embedded_nsqd.http_address=127.0.0.1:0",
    "client.address=127.0.0.1:0",
    "admin.address=127.0.0.1:0",
]
# The queue gives the messages of a killed consumer again after one second.
HURRIED = ["nsq.msg_timeout_s=1"]
# No timeout ends early: for tests that check that no message came twice and no actor was restarted.
UNHURRIED = ["nsq.msg_timeout_s=600", "publish.timeout_s=600", "supervisor.liveness_timeout_s=600"]
# For tests that kill actors: however often actors die, the service does not give up.
PATIENT = ["supervisor.max_restarts=1000", "supervisor.max_seconds=1"]

Status: TypeAlias = dict[str, Any]


@contextlib.contextmanager
def open_service(kind: str, path: Path, *overrides: str) -> Iterator["ServiceWithQueue"]:
    """A service on a queue of that kind (see `queues.QUEUES`). It is not started yet."""
    with contextlib.ExitStack() as stack:
        settings = [*ANY_PORTS, *HURRIED, *overrides]
        if kind == "nsqd":
            nsqd = stack.enter_context(open_queue("nsqd", path))
            settings += [reading(nsqd.tcp_address), f'nsq.nsqd_http_addresses=["{nsqd.http_address}"]']
            service = ServiceWithQueue(path / "state", settings)
            service.queue = Queue(lambda: (nsqd.tcp_address, nsqd.http_address))
        else:
            service = ServiceWithQueue(path / "state", settings)
        stack.callback(service.end)
        yield service


class ServiceWithQueue(Service):
    """A service and its `queue`: the embedded one, unless a test sets another."""

    def __init__(self, state_dir: Path, overrides: Iterable[str] = ()):
        super().__init__(state_dir, overrides)
        self.queue = embedded_queue(self)


class Queue:
    """The queue of a service, for messages that our producer would not send."""

    def __init__(self, addresses: Callable[[], tuple[str, str]]):
        """`addresses` returns the present addresses: for NSQ's protocol, and for HTTP."""
        self._addresses = addresses

    def address(self) -> str:
        """The "host:port" for NSQ's protocol."""
        return self._addresses()[0]

    def http_address(self) -> str:
        """The "host:port" for HTTP."""
        return self._addresses()[1]

    def put(self, topic: str, *bodies: bytes) -> None:
        """Publish messages. The queue has acknowledged them when this returns."""
        with RawClient(self._addresses()[0]) as client:
            client.publish(topic, *bodies)

    def take(self, topic: str, messages: int) -> list[bytes]:
        """The bodies of this many messages of a topic, read on a channel of the test's own."""
        with RawClient(self._addresses()[0]) as client:
            client.identify(heartbeat_interval=30_000)
            client.subscribe(topic, "a-test", messages)
            return [message.body for message in client.messages(messages)]

    def unfinished(self, topic: str, channel: str) -> int:
        """The number of messages that the channel still has: waiting, in flight or deferred."""
        return QueueHttp(self.http_address()).unfinished(topic, channel)


def reading(tcp_address: str) -> str:
    """The setting that makes a service, or a producer, use the nsqd at that address."""
    return f'nsq.nsqd_tcp_addresses=["{tcp_address}"]'


def embedded_queue(service: Service) -> Queue:
    """The embedded queue of a service, at the address where it listens now."""

    def addresses() -> tuple[str, str]:
        facts = facts_of(service)
        return facts["nsqd_tcp_address"], facts["nsqd_http_address"]

    return Queue(addresses)


def facts_of(service: Service) -> dict[str, Any]:
    """The facts that a running service wrote about itself."""
    facts = service.facts()
    assert facts is not None, f"no service runs:\n{service.log()}"
    return facts


def action_headers(service: Service, action: str) -> dict[str, str]:
    """The headers with which the service obeys a POST, as the commands send them."""
    return {"X-Playtally-Action": action, "Authorization": f"Bearer {facts_of(service)['secret']}"}


class Load:
    """A producer that puts plays on a service's queue."""

    def __init__(self, service: Service, path: Path, *words: str):
        self.manifest_file = path / "manifest.json"
        self._log_file = path / "producer.log"
        self.process = produce(service, *words, manifest=self.manifest_file, log_file=self._log_file)

    def wait(self, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until all plays are produced. Returns the manifest."""
        self.process.wait(timeout_s)
        assert self.manifest_file.exists(), self._log_file.read_text()
        manifest: dict[str, Any] = json.loads(self.manifest_file.read_text())
        return manifest

    def stop(self) -> dict[str, Any]:
        """End the producer early, but call this only once some plays are counted. Returns the manifest."""
        self.process.send_signal(signal.SIGINT)
        return self.wait()


def wait_status(
    service: Service, condition: Callable[[Status], bool], what: str, timeout_s: float = PATIENCE_S
) -> Status:
    """Wait until `condition` is true for the status. Returns the status."""
    last: list[Status] = []

    def found() -> Status | None:
        last[:] = [service.status()]
        return last[0] if condition(last[0]) else None

    return wait_for(found, what, timeout_s, lambda: f"{service.log()}\nThe last status: {last}")


def wait_counted(service: Service, plays: int) -> Status:
    """Wait until `plays` plays are counted. Returns the status."""
    return wait_status(service, lambda s: s["plays"]["counted"] >= plays, f"{plays} plays counted")


def wait_caught_up(service: Service, plays: int, timeout_s: float = PATIENCE_S) -> Status:
    """Wait until `plays` plays are counted and all counted plays are published. Returns the status."""

    return wait_status(
        service,
        lambda status: status["plays"]["counted"] >= plays and status["caught_up"],
        f"{plays} plays to be counted and published",
        timeout_s,
    )


def ledger_totals(service: Service) -> dict[str, int]:
    """The totals in the ledgers, as the command `totals` reads them."""
    rows = TotalsReader(str(service.state_dir)).read()
    return {guids.text(video): total for video, total, _ in rows}


def promises_broken(service: Service) -> dict[str, int]:
    """How often the service broke each promise, as the reference client saw it.

    The deadline is left out, because a busy machine is late. Tests in virtual time check the deadline.
    """
    found: dict[str, int] = service.report()["promises_broken_by_promise"]
    return {promise: count for promise, count in found.items() if count and promise != Promise.DEADLINE}
