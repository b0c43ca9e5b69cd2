"""A whole service for a test, on the embedded queue or on a real nsqd, by the same code."""

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
# What a killed consumer held is given again soon.
HURRIED = ["nsq.msg_timeout_s=1"]
# Nobody is too slow: for tests that say what did not come twice, and who was not killed for it.
UNHURRIED = ["nsq.msg_timeout_s=600", "publish.timeout_s=600", "supervisor.liveness_timeout_s=600"]
# Deaths in tests are no sign of a broken system.
PATIENT = ["supervisor.max_restarts=1000", "supervisor.max_seconds=1"]

Status: TypeAlias = dict[str, Any]


@contextlib.contextmanager
def open_service(kind: str, path: Path, *overrides: str) -> Iterator["ServiceWithQueue"]:
    """A service that is not started yet, on a queue of that kind (see `queues.QUEUES`)."""
    with contextlib.ExitStack() as stack:
        settings = [*ANY_PORTS, *HURRIED, *overrides]
        if kind == "nsqd":
            nsqd = stack.enter_context(open_queue("nsqd", path))
            settings.append(reading(nsqd.tcp_address))
            service = ServiceWithQueue(path / "state", settings)
            service.queue = Queue(lambda: (nsqd.tcp_address, nsqd.http_address))
        else:
            service = ServiceWithQueue(path / "state", settings)
        stack.callback(service.end)
        yield service


class ServiceWithQueue(Service):
    """A service with its queue at hand: the embedded one, unless another is put in its place."""

    def __init__(self, state_dir: Path, overrides: Iterable[str] = ()):
        super().__init__(state_dir, overrides)
        self.queue = embedded_queue(self)


class Queue:
    """The queue of a service, for messages that no producer of ours would send."""

    def __init__(self, addresses: Callable[[], tuple[str, str]]):
        """`addresses`: where it is now, for NSQ's protocol and for HTTP."""
        self._addresses = addresses

    def address(self) -> str:
        """Its "host:port" for NSQ's protocol."""
        return self._addresses()[0]

    def put(self, topic: str, *bodies: bytes) -> None:
        """Publish; acknowledged when it returns."""
        with RawClient(self._addresses()[0]) as client:
            client.publish(topic, *bodies)

    def take(self, topic: str, messages: int) -> list[bytes]:
        """So many bodies of a topic, from a channel of its own."""
        with RawClient(self._addresses()[0]) as client:
            client.identify(heartbeat_interval=30_000)
            client.subscribe(topic, "a-test", messages)
            return [message.body for message in client.messages(messages)]

    def unfinished(self, topic: str, channel: str) -> int:
        """Messages that the channel still has, in flight or not."""
        return QueueHttp(self._addresses()[1]).unfinished(topic, channel)


def reading(tcp_address: str) -> str:
    """The setting with which a service, or a producer, uses the nsqd at that address."""
    return f'nsq.nsqd_tcp_addresses=["{tcp_address}"]'


def embedded_queue(service: Service) -> Queue:
    """The queue that a service brings along, wherever it listens now."""

    def addresses() -> tuple[str, str]:
        facts = facts_of(service)
        return facts["nsqd_tcp_address"], facts["nsqd_http_address"]

    return Queue(addresses)


def facts_of(service: Service) -> dict[str, Any]:
    """What a service that runs says of itself."""
    facts = service.facts()
    assert facts is not None, f"no service runs:\n{service.log()}"
    return facts


class Load:
    """A producer at work on a service's queue."""

    def __init__(self, service: Service, path: Path, *words: str):
        self.manifest_file = path / "manifest.json"
        self._log_file = path / "producer.log"
        self.process = produce(service, *words, manifest=self.manifest_file, log_file=self._log_file)

    def wait(self, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """The manifest, once all is produced."""
        self.process.wait(timeout_s)
        assert self.manifest_file.exists(), self._log_file.read_text()
        manifest: dict[str, Any] = json.loads(self.manifest_file.read_text())
        return manifest

    def stop(self) -> dict[str, Any]:
        """End it before its time, though not before some of its plays were counted: the manifest."""
        self.process.send_signal(signal.SIGINT)
        return self.wait()


def wait_status(
    service: Service, condition: Callable[[Status], bool], what: str, timeout_s: float = PATIENCE_S
) -> Status:
    """The status, once it is as wanted."""

    def found() -> Status | None:
        status = service.status()
        return status if condition(status) else None

    return wait_for(found, what, timeout_s, service.log)


def wait_counted(service: Service, plays: int) -> Status:
    """The status, once so many plays are counted."""
    return wait_status(service, lambda s: s["plays"]["counted"] >= plays, f"{plays} plays counted")


def wait_caught_up(service: Service, plays: int, timeout_s: float = PATIENCE_S) -> Status:
    """The status, once so many plays are counted and all of them published."""

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
    """What the reference client saw of broken promises, by promise. Lateness aside: a busy machine is late,
    and what the rules make of deadlines is judged in virtual time.
    """
    found: dict[str, int] = service.report()["promises_broken_by_promise"]
    return {promise: count for promise, count in found.items() if count and promise != Promise.DEADLINE}
