"""A queue for all tests of a file, a topic for each test, and the programs that it starts."""

import itertools
from collections.abc import Iterator

import pytest

from tests.conformance.clients.programs import Programs, programs_in
from tests.support.patience import wait_until
from tests.support.queues import QUEUES, QueueProcess, open_queue

EARLY_TOPICS = 16  # nsqd looks at 20 channels each time
_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=QUEUES)
def queue(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueProcess]:
    """The embedded queue, and a real nsqd, which shows that the test is right."""
    with open_queue(
        request.param, tmp_path_factory.mktemp("queue"), "--broadcast-address=127.0.0.1"
    ) as queue:
        yield queue


@pytest.fixture
def topic() -> str:
    """A name that no other test uses."""
    return f"topic_{next(_numbers)}"


@pytest.fixture(scope="module")
def early_topics(queue: QueueProcess) -> Iterator[str]:
    """Topics whose channel "c" nsqd looks at every 100 ms. With new ones it begins only after 5 s."""
    topics = [f"early_topic_{number}" for number in range(EARLY_TOPICS)]
    for topic in topics:
        queue.post(f"/topic/create?topic={topic}")
        queue.post(f"/channel/create?topic={topic}&channel=c")
        queue.post(f"/pub?topic={topic}&defer=1", b"is this looked at?")
    for topic in topics:
        wait_until(lambda: (queue.channel(topic, "c") or {})["deferred_count"] == 0, "nsqd to look at it")  # noqa: B023
        queue.post(f"/channel/empty?topic={topic}&channel=c")
    return iter(topics)


@pytest.fixture
def early_topic(early_topics: Iterator[str]) -> str:
    """One of them, that no other test uses."""
    return next(early_topics)


@pytest.fixture
def programs(tmp_path) -> Iterator[Programs]:
    with programs_in(tmp_path) as programs:
        yield programs
