"""nsqadmin shows the embedded queue as it shows nsqd, and what one does there is done on the queue."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.conformance.clients.programs import Programs, programs_in
from tests.support.patience import wait_until
from tests.support.queues import QueueHttp, QueueProcess, free_ports


class Nsqadmin(QueueHttp):
    """A running nsqadmin that knows one queue."""

    def __init__(self, programs: Programs, queue: QueueProcess) -> None:
        [port] = free_ports(1)
        super().__init__(f"127.0.0.1:{port}")
        addresses = (f"-http-address={self.http_address}", f"-nsqd-http-address={queue.http_address}")
        self.program = programs.run("nsqadmin", *addresses)
        wait_until(lambda: "HTTP: listening" in self.program.log(), "nsqadmin to listen")

    def api(self, path: str) -> dict[str, object]:
        """What GET /api… answers. It has a message where something is wrong."""
        status, body = self.http("GET", f"/api{path}")
        assert status == 200, (status, body, self.program.log())
        answer: dict[str, object] = json.loads(body)
        assert answer.pop("message") == ""
        return answer

    def do(self, method: str, path: str, **body: str) -> None:
        """As the buttons do."""
        status, answer = self.http(method, f"/api{path}", json.dumps(body).encode())
        assert status == 200, (status, answer, self.program.log())
        assert json.loads(answer) == {"message": ""}


@pytest.fixture(scope="module")
def nsqadmin(queue: QueueProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nsqadmin]:
    with programs_in(tmp_path_factory.mktemp("nsqadmin")) as programs:
        yield Nsqadmin(programs, queue)


@pytest.fixture
def filled(queue: QueueProcess, topic: str) -> str:
    """A topic with three messages in the channel "c", and none in the topic."""
    queue.post(f"/topic/create?topic={topic}")
    queue.post(f"/channel/create?topic={topic}&channel=c")
    queue.post(f"/mpub?topic={topic}", b"a\nb\nc")
    wait_until(lambda: queue.channel(topic, "c")["depth"] == 3, "the channel to be filled")
    return topic


def test_topics_nodes_and_counters_are_listed(nsqadmin, queue, filled):
    assert filled in nsqadmin.api("/topics")["topics"]
    [node] = nsqadmin.api("/nodes")["nodes"]
    assert (node["tcp_port"], node["http_port"], node["version"]) == (
        queue.tcp_port,
        queue.http_port,
        "1.3.0",
    )
    assert filled in [topic["topic"] for topic in node["topics"]]
    counters = nsqadmin.api("/counter")["stats"]
    [counter] = [each for each in counters.values() if each["topic_name"] == filled]
    assert (counter["channel_name"], counter["message_count"]) == ("c", 3)
    own = nsqadmin.api(f"/nodes/{counter['node']}")
    assert filled in [topic["topic_name"] for topic in own["topics"]]


def test_topic_has_its_figures_by_node_and_channel(nsqadmin, filled):
    topic = nsqadmin.api(f"/topics/{filled}")
    assert (topic["topic_name"], topic["message_count"], topic["paused"]) == (filled, 3, False)
    assert (topic["depth"], topic["memory_depth"] + topic["backend_depth"]) == (0, 0)
    assert topic["e2e_processing_latency"]["count"] == 0
    [node] = topic["nodes"]
    [channel] = node["channels"]
    assert (channel["channel_name"], channel["depth"]) == ("c", 3)


def test_channel_has_its_figures_and_its_client(nsqadmin, queue, programs, filled):
    programs.read("pynsq", queue, filled, "c", client_id="me", then="hold").messages(1)
    channel = nsqadmin.api(f"/topics/{filled}/c")
    assert (channel["depth"], channel["in_flight_count"], channel["message_count"]) == (2, 1, 3)
    assert channel["memory_depth"] + channel["backend_depth"] == 2
    [client] = channel["clients"]
    assert (client["client_id"], client["in_flight_count"]) == ("me", 1)
    assert client["user_agent"].startswith("pynsq/")
    assert client["remote_address"].startswith("127.0.0.1:")


def test_channel_is_paused_unpaused_and_emptied(nsqadmin, queue, programs, filled):
    nsqadmin.do("POST", f"/topics/{filled}/c", action="pause")
    assert queue.channel(filled, "c")["paused"]
    assert nsqadmin.api(f"/topics/{filled}/c")["paused"]
    reader = programs.read("pynsq", queue, filled, "c", max_in_flight=5)
    nsqadmin.do("POST", f"/topics/{filled}/c", action="empty")
    assert queue.unfinished(filled, "c") == 0
    queue.post(f"/pub?topic={filled}", b"d")
    wait_until(lambda: queue.channel(filled, "c")["depth"] == 1, "the message to be in the channel")
    assert reader.messages() == []
    nsqadmin.do("POST", f"/topics/{filled}/c", action="unpause")
    assert [message["body"] for message in reader.messages(1)] == ["d"]


def test_topic_is_paused_unpaused_and_emptied(nsqadmin, queue, filled):
    nsqadmin.do("POST", f"/topics/{filled}", action="pause")
    assert nsqadmin.api(f"/topics/{filled}")["paused"]
    queue.post(f"/mpub?topic={filled}", b"d\ne")
    assert (queue.topic(filled)["depth"], queue.channel(filled, "c")["depth"]) == (2, 3)
    nsqadmin.do("POST", f"/topics/{filled}", action="empty")
    assert (queue.topic(filled)["depth"], queue.channel(filled, "c")["depth"]) == (0, 3)
    nsqadmin.do("POST", f"/topics/{filled}", action="unpause")
    queue.post(f"/pub?topic={filled}", b"f")
    wait_until(lambda: queue.channel(filled, "c")["depth"] == 4, "the topic to flow again")


def test_channel_and_topic_are_deleted(nsqadmin, queue, filled):
    nsqadmin.do("DELETE", f"/topics/{filled}/c")
    assert queue.channel(filled, "c") is None
    nsqadmin.do("DELETE", f"/topics/{filled}")
    assert queue.topic(filled) is None
    assert filled not in nsqadmin.api("/topics")["topics"]


def test_what_is_not_there_is_an_error_and_ends_nothing(nsqadmin, topic):
    status, body = nsqadmin.http("GET", f"/api/topics/{topic}")
    assert (status, b"UPSTREAM_ERROR" in body) == (502, True)
    status, _ = nsqadmin.http("DELETE", f"/api/topics/{topic}")
    assert status in {200, 502}
    assert nsqadmin.http("GET", "/ping") == (200, b"OK")


@pytest.mark.parametrize("path", ["/", "/topics/{}", "/topics/{}/c", "/nodes", "/counter", "/lookup"])
def test_pages_are_served(nsqadmin, filled, path):
    status, body = nsqadmin.http("GET", path.format(filled))
    assert status == 200
    scripts = re.findall(rb'src="(/static/[^"]+)"', body)
    assert scripts
    for script in scripts:
        assert nsqadmin.http("GET", script.decode())[0] == 200
