"""An nsqd that changes in one of these ways gives messages again that are counted. Which count twice?

Each change is made on real nsqds, which give all their messages again after a kill: they never store how far
the channel was read. docs/production.md has the table of these changes, and a test here holds it true.
"""

import contextlib
import json
import shutil
import struct
import subprocess
import uuid
from pathlib import Path

import pytest

from actors.cli.launch import Service
from actors.system.installation import ROOT
from tests.support.needed import lacking
from tests.support.patience import wait_until
from tests.support.queues import QueueProcess, RawClient, require_nsqd
from tests.support.services import ANY_PORTS, UNHURRIED, ledger_totals, wait_counted, wait_status
from tests.support.trouble import halt

VIDEO = uuid.UUID(int=7)
BODY = json.dumps({"video_id": str(VIDEO)}).encode()
PLAYS = 300
MORE = 40
FORGETFUL = ["--mem-queue-size=0", "--sync-every=1000000", "--sync-timeout=3600s"]
CHANNEL = "topic=plays&channel=playtally"
STAMP_AT, FRAME = 4, struct.Struct(">i")
pytestmark = pytest.mark.usefixtures("nsqd_is_here")


@pytest.fixture
def nsqd_is_here():
    require_nsqd()


class Nsqd(QueueProcess):
    """An nsqd that gives again, after a kill, all that it had when it was started."""

    def __init__(self, path: Path, *options: str, host: str = ""):
        super().__init__("nsqd", path, options=[*FORGETFUL, *options])
        self.host = host

    def start(self) -> None:
        """Start it, with a host name of its own if it has one."""
        if not self.host:
            super().start()
            return
        command = [require_nsqd(), f"--tcp-address={self.tcp_address}", f"--http-address={self.http_address}"]
        command += [f"--data-path={self.path}", "--broadcast-address=127.0.0.1", *self._options]
        script = 'hostname "$0" && exec "$@"'
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--uts", *user_namespace(), "sh", "-c", script, self.host, *command],
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, "nsqd to answer /ping")

    def fill(self, plays: int = PLAYS) -> None:
        """Put plays into the channel, so that a kill brings all of them back."""
        self.start()
        self.post("/topic/create?topic=plays")
        self.post(f"/channel/create?{CHANNEL}")
        self.post(f"/channel/pause?{CHANNEL}")
        self.post("/mpub?topic=plays", b"\n".join([BODY] * plays))
        wait_until(lambda: self.channel("plays", "playtally")["depth"] == plays, "the plays to be queued")
        self.restart()
        self.post(f"/channel/unpause?{CHANNEL}")

    def move_to(self, other: "Nsqd") -> None:
        """Be killed, and be `other` from now on, with the same data."""
        self.kill()
        copy_data(self, other)
        other.start()
        other.post(f"/channel/unpause?{CHANNEL}")

    def put_more(self) -> None:
        """Put plays that are new."""
        with RawClient(self.tcp_address) as client:
            client.publish("plays", *[BODY] * MORE)


def user_namespace() -> list[str]:
    """The options of unshare with which a host name can be set here. Without any, the test is skipped."""
    ways: list[list[str]] = [[], ["--map-root-user"]]
    if shutil.which("unshare"):
        for options in ways:
            tried = ["unshare", "--uts", *options, "hostname", "tried"]
            if subprocess.run(tried, capture_output=True, check=False).returncode == 0:
                return options
    return lacking("no host name can be set in a namespace (unshare --uts)")


def copy_data(source: Nsqd, target: Nsqd) -> None:
    """Give an nsqd the data folder of another one."""
    shutil.rmtree(target.path)
    shutil.copytree(source.path, target.path)


@contextlib.contextmanager
def scene(path, *nsqds, http=True):
    """A service that knows all these nsqds, those to come too."""
    with contextlib.ExitStack() as stack:
        for one in nsqds:
            stack.callback(one.close)
        addresses = json.dumps([one.tcp_address for one in nsqds])
        settings = [f"nsq.nsqd_tcp_addresses={addresses}"]
        if http:
            settings += [f"nsq.nsqd_http_addresses={json.dumps([one.http_address for one in nsqds])}"]
        service = Service(path / "state", [*ANY_PORTS, *UNHURRIED, *settings])
        stack.callback(service.end)
        yield service


def told(service, nsqd):
    """What `status` says of an nsqd."""
    return next(one for one in service.status()["nsq"]["nsqds"] if one["address"] == nsqd.tcp_address)


def wait_received(service, messages):
    """Wait until so many messages came, redeliveries too."""
    came = f"{messages} messages"
    wait_status(service, lambda status: status["plays"]["received"] >= messages, came)


def clients(*nsqds):
    """The consumers that each nsqd gives messages to."""
    channels = [one.channel("plays", "playtally") for one in nsqds]
    return [{each["remote_address"] for each in channel["clients"]} for channel in channels]


def counted_in_the_end(service, nsqds):
    """The plays counted when all queues are empty."""
    wait_status(
        service,
        lambda status: (
            all(one.unfinished("plays", "playtally") == 0 for one in nsqds)
            and status["in_flight_messages"] == 0
        ),
        "all messages to be finished",
    )
    service.end()
    return ledger_totals(service)[str(VIDEO)]


def pair(path, *options, other=None, hosts=("", "")):
    """An nsqd, and what it becomes."""
    return (
        Nsqd(path / "old", *options, host=hosts[0]),
        Nsqd(path / "new", *(options if other is None else other), host=hosts[1]),
    )


def moved(path, old, new):
    """Count what `old` has, move it, and return how many are counted beyond those that there are."""
    with scene(path, old, new) as service:
        service.start()
        old.fill()
        wait_counted(service, PLAYS)
        old.move_to(new)
        new.put_more()
        wait_received(service, 2 * PLAYS + MORE)
        return counted_in_the_end(service, [new]) - PLAYS - MORE


def a_new_address(path):
    return moved(path, *pair(path))


def a_new_address_and_a_new_host_name(path):
    return moved(path, *pair(path, hosts=("nsqd-a", "nsqd-b")))


def a_new_address_without_http(path):
    """The service is told no HTTP address, and finds none at the port after that of TCP."""
    old, new = pair(path)
    with scene(path, old, new, http=False) as service:
        service.start()
        old.fill()
        wait_counted(service, PLAYS)
        assert told(service, old)["http_address"] == ""
        assert told(service, old)["identity"] == "node id"
        old.move_to(new)
        wait_received(service, 2 * PLAYS)
        return counted_in_the_end(service, [new]) - PLAYS


def another_node_id_at_the_same_address(path):
    old = Nsqd(path / "old", "--node-id=5")
    with scene(path, old) as service:
        service.start()
        old.fill()
        wait_counted(service, PLAYS)
        old.kill()
        old._options = [*FORGETFUL, "--node-id=6"]
        old.start()
        old.put_more()
        wait_received(service, 2 * PLAYS + MORE)
        return counted_in_the_end(service, [old]) - PLAYS - MORE


def another_node_id_and_a_new_address(path):
    return moved(path, *pair(path, "--node-id=5", other=["--node-id=6"]))


def a_new_data_folder(path):
    """Nothing comes back. What is new is counted, though the nsqd has its node id and host name as before."""
    old, new = pair(path)
    with scene(path, old, new) as service:
        service.start()
        old.fill()
        wait_counted(service, PLAYS)
        old.kill()
        new.fill()
        wait_received(service, 2 * PLAYS)
        return counted_in_the_end(service, [new]) - 2 * PLAYS


def a_restored_data_folder(path):
    """The copy was made before anything was counted. The nsqd that restores it runs beside the first one."""
    old, new = pair(path, "--node-id=5", other=["--node-id=6"])
    with scene(path, old, new) as service:
        old.fill()
        old.stop()
        copy_data(old, new)
        old.start()
        service.start()
        wait_counted(service, PLAYS)
        new.start()
        new.post(f"/channel/unpause?{CHANNEL}")
        old.put_more()
        wait_received(service, 2 * PLAYS + MORE)
        return counted_in_the_end(service, [old, new]) - PLAYS - MORE


def a_clock_set_back(path):
    """The nsqd gives ids a second time, at another address: its data has the same ids with other stamps."""
    old, new = pair(path)
    with scene(path, old, new) as service:
        service.start()
        old.fill()
        wait_counted(service, PLAYS)
        old.kill()
        copy_data(old, new)
        data = new.path / "plays:playtally.diskqueue.000000.dat"
        data.write_bytes(later(data.read_bytes()))
        new.start()
        new.post(f"/channel/unpause?{CHANNEL}")
        wait_received(service, 2 * PLAYS)
        assert service.status()["plays"]["reused_ids"] in (0, PLAYS)
        return counted_in_the_end(service, [new]) - 2 * PLAYS


def later(data):
    """The messages of a file of nsqd's queue, each a nanosecond later."""
    changed, at = bytearray(data), 0
    while at < len(data):
        (stamp,) = struct.unpack_from(">q", data, at + STAMP_AT)
        struct.pack_into(">q", changed, at + STAMP_AT, stamp + 1)
        at += STAMP_AT + FRAME.unpack_from(data, at)[0]
    return bytes(changed)


def an_address_of_another_nsqd(path):
    """Two nsqds that run at once change places."""
    one, other = Nsqd(path / "one", "--node-id=5"), Nsqd(path / "other", "--node-id=6")
    with scene(path, one, other) as service:
        service.start()
        one.fill()
        other.fill()
        wait_counted(service, 2 * PLAYS)
        one.kill()
        other.kill()
        one.path, other.path = other.path, one.path
        one._options, other._options = other._options, one._options
        for each in (one, other):
            each.start()
            each.post(f"/channel/unpause?{CHANNEL}")
        wait_received(service, 4 * PLAYS)
        return counted_in_the_end(service, [one, other]) - 2 * PLAYS


def a_connection_that_looks_alive(path):
    """The host of the old nsqd has gone without a word: nothing closes the connection."""
    old, new = pair(path)
    with scene(path, old, new) as service:
        service.start()
        old.fill()
        wait_counted(service, PLAYS)
        halt(old.pid)
        copy_data(old, new)
        new.start()
        new.post(f"/channel/unpause?{CHANNEL}")
        wait_received(service, 2 * PLAYS)
        return counted_in_the_end(service, [new]) - PLAYS


def beside_another(path, *options, other=(), hosts=("", "")):
    """One of two nsqds that run at once moves."""
    old, new = pair(path, *options, hosts=(hosts[0], hosts[0]))
    stays = Nsqd(path / "stays", *other, host=hosts[1])
    with scene(path, old, new, stays) as service:
        service.start()
        old.fill()
        stays.fill()
        wait_counted(service, 2 * PLAYS)
        old.move_to(new)
        wait_received(service, 3 * PLAYS)
        return counted_in_the_end(service, [new, stays]) - 2 * PLAYS


def one_of_two_on_one_host(path):
    return beside_another(path)


def one_of_two_on_one_host_with_node_ids(path):
    return beside_another(path, "--node-id=5", other=["--node-id=6"])


def one_of_two_hosts_with_one_node_id(path):
    return beside_another(path, "--node-id=5", other=["--node-id=5"], hosts=("nsqd-a", "nsqd-b"))


CHANGES = [
    a_new_address,
    a_new_address_without_http,
    a_new_address_and_a_new_host_name,
    another_node_id_at_the_same_address,
    another_node_id_and_a_new_address,
    a_new_data_folder,
    a_restored_data_folder,
    a_clock_set_back,
    an_address_of_another_nsqd,
    a_connection_that_looks_alive,
    one_of_two_on_one_host,
    one_of_two_on_one_host_with_node_ids,
    one_of_two_hosts_with_one_node_id,
]


def words(change):
    return change.__name__.replace("_", " ")


def table():
    """The table in the docs: by change, whether nothing is counted twice or lost."""
    text = (ROOT / "docs" / "production.md").read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    named = {words(one) for one in CHANGES}
    return {row[0].strip(): row[-1].strip() for row in rows if row[0].strip() in named}


@pytest.mark.parametrize("change", CHANGES, ids=words)
def test_what_is_counted_twice_is_what_the_table_says(change, tmp_path):
    expected = {"exact": 0, "counted again": PLAYS}
    assert change(tmp_path) == expected[table()[words(change)]]


def test_two_nsqds_of_one_host_are_both_counted_exactly_and_one_line_says_what_they_share(tmp_path):
    one, other = Nsqd(tmp_path / "one"), Nsqd(tmp_path / "other")
    with scene(tmp_path, one, other) as service:
        one.fill()
        other.fill()
        service.start()
        wait_counted(service, 2 * PLAYS)

        def lines():
            return [line for line in service.log().splitlines() if "-node-id" in line]

        wait_until(lambda: len(lines()) == 1, "a line of the first consumer, which looks now and again")
        before = clients(one, other)
        service.command("kill", "consumer")
        # What an nsqd sends to the killed one before it sees the end comes again after `nsq.msg_timeout_s`.
        wait_until(
            lambda: all(
                now and not now & then for now, then in zip(clients(one, other), before, strict=True)
            ),
            "only the next consumer to be connected",
        )
        one.put_more()
        other.put_more()
        wait_counted(service, 2 * (PLAYS + MORE))
        for each in (one, other):
            found = told(service, each)
            assert found["identity"] == "address"
            assert found["node_id"] is not None
        wait_until(lambda: len(lines()) == 2, "a line of each consumer")
        assert one.tcp_address in lines()[0] and other.tcp_address in lines()[0]
        assert counted_in_the_end(service, [one, other]) == 2 * (PLAYS + MORE)
