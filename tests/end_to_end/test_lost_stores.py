"""Each store, lost in each way: the start is refused by name and the store left as it was, or the log says
what is missing, and the client agrees with the ledgers again. Nothing begins empty in silence.
"""

import os
import shutil

import pytest

from actors.cli.launch import wait_for
from actors.system.exits import EXIT_STORE, Failure
from tests.support.patience import PATIENCE_S
from tests.support.services import PATIENT, ledger_totals, open_service, wait_caught_up

SETTINGS = [*PATIENT, "dispatch.deadline_s=0.3", f"supervisor.liveness_timeout_s={PATIENCE_S}"]
VIDEO = b'{"video_id": "00000000-0000-4000-8000-%012d"}'
FILES = {
    "counter-0": "counter-0.sqlite",
    "dispatcher": "dispatcher.sqlite",
    "nsqd": "nsqd/journal.sqlite",
    "client": "client/client.sqlite",
}
LEDGERS = ("counter-*", "dispatcher.*", "ledgers.*")


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """A state of 100 plays, and the same state 60 plays of other videos later. Both were stopped."""
    folder = tmp_path_factory.mktemp("states")
    with open_service("embedded", folder, *SETTINGS) as service:
        for name, first, plays in (("older", 0, 100), ("newer", 20, 160)):
            service.start()
            service.queue.put(
                "plays", *(VIDEO % (first + number % 20) for number in range(100 if not first else 60))
            )
            wait_caught_up(service, plays)
            assert service.stop() == 0
            shutil.copytree(service.state_dir, folder / name, ignore=shutil.ignore_patterns("service.*"))
    return folder


class Damage:
    """The state of a service that is not started yet, and an older copy of it."""

    def __init__(self, state, older):
        self.state, self.older = state, older

    def gone(self, *patterns):
        for pattern in patterns:
            for path in self.state.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def cut(self, name, share=0.5):
        path = self.state / name
        os.truncate(path, int(path.stat().st_size * share))

    def put_older(self, *patterns):
        for pattern in patterns:
            for path in self.older.glob(pattern):
                target = self.state / path.relative_to(self.older)
                if path.is_dir():
                    shutil.rmtree(target)
                    shutil.copytree(path, target)
                else:
                    shutil.copy(path, target)

    def replaced_by_a_folder(self, name):
        (self.state / name).unlink()
        (self.state / name).mkdir()


REFUSED = {
    # what was done: which store is named, with which words
    "counter-0 gone": (lambda d: d.gone("counter-0.sqlite"), "counter-0", "missing, expected with the other"),
    "counter-0 and mark gone": (lambda d: d.gone("counter-0.*"), "counter-0", "missing, expected with"),
    "counter-0 empty": (lambda d: d.cut("counter-0.sqlite", 0), "counter-0", "cannot be used ("),
    "counter-0 cut": (lambda d: d.cut("counter-0.sqlite"), "counter-0", "cannot be used ("),
    "counter-0 older": (lambda d: d.put_older("counter-0.sqlite"), "counter-0", "ends at commit"),
    "counter-0 and mark older": (lambda d: d.put_older("counter-0.*"), "counter-0", "ends at commit"),
    "counter-0 a folder": (
        lambda d: d.replaced_by_a_folder("counter-0.sqlite"),
        "counter-0",
        "cannot be used",
    ),
    "its mark a folder": (
        lambda d: d.replaced_by_a_folder("counter-0.mark"),
        "counter-0",
        "cannot be written",
    ),
    "dispatcher gone": (lambda d: d.gone("dispatcher.*"), "dispatcher", "missing, expected with the other"),
    "dispatcher empty": (lambda d: d.cut("dispatcher.sqlite", 0), "dispatcher", "cannot be used ("),
    "dispatcher cut": (lambda d: d.cut("dispatcher.sqlite"), "dispatcher", "cannot be used ("),
    "dispatcher and mark older": (lambda d: d.put_older("dispatcher.*"), "dispatcher", "ends at commit"),
    "ledgers.json empty": (lambda d: d.cut("ledgers.json", 0), "ledgers", "cannot be read"),
    "nsqd's journal gone": (lambda d: d.gone("nsqd/journal.sqlite"), "nsqd", "the journal is missing, and"),
    "nsqd's journal empty": (
        lambda d: d.cut("nsqd/journal.sqlite", 0),
        "nsqd",
        "the journal is missing, and",
    ),
    "nsqd's journal cut": (lambda d: d.cut("nsqd/journal.sqlite"), "nsqd", "cannot be used ("),
    "nsqd's journal older": (lambda d: d.put_older("nsqd"), "nsqd", "it is an older copy"),
    "nsqd's folder gone": (lambda d: d.gone("nsqd"), "nsqd", "the journal is missing, and"),
    "nsqd's folder gone, mark emptied": (
        lambda d: (d.gone("nsqd"), d.cut("nsqd.mark", 0)),
        "nsqd",
        "the journal is missing, and",
    ),
    "client's store cut": (
        lambda d: d.cut("client/client.sqlite"),
        "client",
        "client.sqlite cannot be opened",
    ),
    "all ledgers gone": (lambda d: d.gone(*LEDGERS), "counter-0", "but no ledgers, which are made first"),
    "all ledgers and the queue gone": (
        lambda d: d.gone(*LEDGERS, "nsqd*"),
        "counter-0",
        "has client/client.sqlite, client/dispatcher.mark, but no ledgers",
    ),
    "all ledgers and the client gone": (
        lambda d: d.gone(*LEDGERS, "client"),
        "counter-0",
        "nsqd/journal.sqlite, nsqd/dispatcher.mark, but no ledgers",
    ),
    "all ledgers older": (lambda d: d.put_older(*LEDGERS), "dispatcher", "client/dispatcher.mark says that"),
    "all ledgers and the client older": (
        lambda d: d.put_older(*LEDGERS, "client"),
        "dispatcher",
        "nsqd/dispatcher.mark says that",
    ),
}
SAID = {
    "counter-0.mark gone": (lambda d: d.gone("counter-0.mark"), "counter-0.mark: missing or empty"),
    "counter-0.mark emptied": (
        lambda d: d.cut("counter-0.mark", 0),
        "republish 1 (all videos) begins: commits of counter-0.sqlite may be lost",
    ),
    "counter-0 older, mark emptied": (
        lambda d: (d.put_older("counter-0.sqlite"), d.cut("counter-0.mark", 0)),
        "republish 1 (all videos) begins: commits of counter-0.sqlite may be lost",
    ),
    "dispatcher.mark gone": (lambda d: d.gone("dispatcher.mark"), "dispatcher.mark: missing or empty"),
    "dispatcher older, mark emptied": (
        lambda d: (
            d.put_older("dispatcher.sqlite"),
            d.cut("dispatcher.mark", 0),
            d.gone("*/dispatcher.mark"),
        ),
        "The service goes on without them",
    ),
    "nsqd.mark gone": (lambda d: d.gone("nsqd.mark"), "nsqd.mark: missing or empty"),
    "nsqd older, mark gone": (
        lambda d: (d.put_older("nsqd"), d.gone("nsqd.mark")),
        "nsqd.mark: missing or empty",
    ),
    "nsqd older, mark emptied": (
        lambda d: (d.put_older("nsqd"), d.cut("nsqd.mark", 0)),
        "nsqd.mark: missing or empty",
    ),
    "nsqd and its mark gone": (lambda d: d.gone("nsqd", "nsqd.mark"), "a new queue, without messages"),
    "client gone": (lambda d: d.gone("client"), "the client has less of 40 videos than was published to it"),
    "client empty": (
        lambda d: d.cut("client/client.sqlite", 0),
        "client.sqlite: is empty. It is a new store now",
    ),
    "client older": (
        lambda d: d.put_older("client"),
        "the client has less of 20 videos than was published to it",
    ),
    "all ledgers older, marks emptied": (
        lambda d: (
            d.put_older(*LEDGERS),
            d.cut("client/dispatcher.mark", 0),
            d.cut("nsqd/dispatcher.mark", 0),
        ),
        "republish 1 (all videos) begins: commits of dispatcher.sqlite may be lost",
    ),
}


@pytest.fixture
def service(states, tmp_path):
    """A service with a copy of the newer state, not started yet."""
    with open_service("embedded", tmp_path, *SETTINGS) as service:
        shutil.copytree(states / "newer", service.state_dir)
        yield service


def contents(service, name):
    """The files of a store, without its lock."""
    state, file = service.state_dir, FILES.get(name, f"{name}.json")
    paths = [*state.glob(f"{file}*"), state / f"{name}.mark"]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def agrees(service):
    """Whether the client has the ledgers' totals. Of other videos it may have what the ledgers have lost."""
    return ledger_totals(service).items() <= service.totals().items()


@pytest.mark.parametrize("case", REFUSED)
def test_a_store_that_is_lost_is_refused_by_name_and_left_as_it_was(service, states, case):
    damage, name, words = REFUSED[case]
    damage(Damage(service.state_dir, states / "older"))
    before = contents(service, name)
    with pytest.raises(Failure):
        service.start()
    assert service.process.returncode == EXIT_STORE
    lines = [line for line in service.log().splitlines() if words in line]
    assert lines, service.log()
    assert all(str(service.state_dir) in line for line in lines)
    assert contents(service, name) == before
    assert "Traceback" not in service.log()


@pytest.mark.parametrize("case", SAID)
def test_what_is_not_refused_is_said_and_the_client_agrees_with_the_ledgers_again(service, states, case):
    damage, words = SAID[case]
    damage(Damage(service.state_dir, states / "older"))
    service.start()
    wait_for(lambda: words in service.log() or None, words, PATIENCE_S, service.log)
    wait_for(lambda: agrees(service) or None, "the client to agree", PATIENCE_S, service.log)
    assert "Traceback" not in service.log()


def test_a_store_that_was_moved_to_another_disk_and_linked_is_taken(service, tmp_path):
    path = service.state_dir / "counter-0.sqlite"
    shutil.move(path, tmp_path / "elsewhere.sqlite")
    path.symlink_to(tmp_path / "elsewhere.sqlite")
    service.start()
    assert sum(ledger_totals(service).values()) == 160
