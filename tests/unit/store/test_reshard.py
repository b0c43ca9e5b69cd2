"""Resharding: nothing is lost or published twice, and after a kill at any moment the ledgers are whole."""

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from msgspec import structs

from actors.core.columns import ID_BYTES, pack_numbers
from actors.core.counter.accounts import PART_ROWS
from actors.core.counter.ledger import Ledger
from actors.core.counter.seen_ids import BUCKET_SHIFT, SeenIds
from actors.core.dispatcher.lead_time import PublishTime
from actors.core.dispatcher.outbox import Entry, PublishTotals, make_batch
from actors.core.dispatcher.refused_videos import RefusedVideo
from actors.core.dispatcher.republish import Place, Republish
from actors.core.messages import Plays, Rejected
from actors.core.shards import shard_of
from actors.core.triggers import Trigger
from actors.store import SqliteLedgerStore, SqliteOutboxStore, ledger_path
from actors.store.folder import find
from actors.store.reshard import reshard
from actors.store.verify import verify
from actors.system.exits import EXIT_STORE, Failure
from actors.system.installation import ROOT
from actors.system.locks import lock_file
from tests.support.patience import PATIENCE_S
from tests.support.recording_client import RecordingClient
from tests.support.services import PATIENT, ledger_totals, open_service, wait_caught_up, wait_counted

NOW_MS = 1_700_000_000_000
WINDOW_MS = 3_600_000
VIDEOS = [bytes([number]) * 16 for number in range(60)]
REFUSED = RefusedVideo(VIDEOS[0], 7, "422 No", 3)
BATCH = make_batch("s", Trigger.REALTIME, [Entry(VIDEOS[0], 3, 17), Entry(VIDEOS[1], 1, 5, True)])


def plays(number, shards, shard):
    """One play of each video of a shard, each with its own message id."""
    videos = [video for video in VIDEOS if shard_of(video, shards) == shard]
    ids = [(number << BUCKET_SHIFT) + video[0] for video in videos]
    return Plays(
        number,
        "a/plays",
        b"".join(one.to_bytes(ID_BYTES, "big") for one in ids),
        b"".join(videos),
        pack_numbers(NOW_MS * 1_000_000 - video[0] for video in videos),
    )


def rejected(number):
    id = (number << BUCKET_SHIFT | 999).to_bytes(ID_BYTES, "big")
    return Rejected(number, "a/plays", id, pack_numbers([number]))


class Opened:
    """One shard's ledger, as a counter opens it."""

    def __init__(self, state_dir, shard, shards, steps_below=0):
        self.store = SqliteLedgerStore(state_dir, shard, shards, "NORMAL")
        accounts, chunks, tallies = self.store.load()
        self.accounts = dict(accounts.items())
        self.ledger = Ledger(SeenIds(WINDOW_MS, chunks), accounts, tallies, steps_below)

    def commit(self):
        found = self.ledger.take_changes(NOW_MS)
        if found is not None:
            self.store.commit(found)

    def close(self):
        self.store.close()


@pytest.fixture
def state_dir(tmp_path):
    """Two ledgers with videos in every stage of publishing, seen ids, dead letters, and a stored batch."""
    folder = str(tmp_path / "state")
    outbox = SqliteOutboxStore(folder, 2, "NORMAL", "plays")
    totals = PublishTotals(realtime=4, failed=1, client="http://a", publish_time=PublishTime(5))
    outbox.store([BATCH], totals)
    outbox.store_republish(Republish(1, "asked for", VIDEOS[0], Place(1, 2, 1, 7, 20, 1)), totals)
    outbox.store_republish(Republish(2, "asked for"), totals, over=(2,))
    outbox.store_refused([REFUSED], totals)
    outbox.close()
    for shard in (0, 1):
        opened = Opened(folder, shard, 2, steps_below=100)
        for number in range(1, 6):
            opened.ledger.apply(plays(number, 2, shard), NOW_MS, NOW_MS * 1_000_000)
            if number == 3:
                own = [video for video in VIDEOS if shard_of(video, 2) == shard]
                opened.ledger.collect(1, own[::2])
                opened.ledger.publish(own[::3], [2] * len(own[::3]))
            opened.commit()
        opened.ledger.apply(plays(1, 2, shard), NOW_MS, NOW_MS * 1_000_000)  # a redelivery
        opened.ledger.reject(rejected(7), NOW_MS)
        opened.commit()
        opened.close()
    return folder


def whole(state_dir, shards):
    """The content of all ledgers together, and of the outbox. It is the same for any number of shards."""
    accounts, tallies = {}, [0, 0, 0]
    for shard in range(shards):
        opened = Opened(state_dir, shard, shards)
        assert not accounts.keys() & opened.accounts.keys()
        assert all(shard_of(video, shards) == shard for video in opened.accounts)
        accounts.update(opened.accounts)
        found = opened.ledger.tallies
        assert found.counted == sum(one.total for one in opened.accounts.values())
        numbers = (found.counted, found.redelivered, found.dead_lettered)
        tallies = [a + b for a, b in zip(tallies, numbers, strict=True)]
        opened.close()
    outbox = SqliteOutboxStore(state_dir, shards, "NORMAL", "plays")
    batches, totals = outbox.load()
    requests = outbox.load_republishes()
    refused = outbox.load_refused()
    outbox.close()
    if totals.commits:
        assert totals.commits == dict.fromkeys(range(shards), 1), "each new ledger has one commit"
    totals = structs.replace(totals, commits={})
    return accounts, tallies, batches, requests, refused, totals, outbox.service


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_everything_is_there_again_however_it_is_divided(state_dir, shards):
    before = whole(state_dir, 2)
    done = reshard(state_dir, shards)
    assert (done.shards_before, done.shards, done.plays, done.videos) == (2, shards, 300, 60)
    assert done.ids == 301
    assert whole(state_dir, shards) == before
    assert not any(finding.wrong for finding in verify(state_dir))
    reshard(state_dir, 2)
    assert whole(state_dir, 2) == before


def test_more_videos_than_a_part_has_are_all_moved(tmp_path):
    state_dir = str(tmp_path / "many")
    videos = [number.to_bytes(16, "big") for number in range(5 * PART_ROWS)]
    for shard in range(2):
        opened = Opened(state_dir, shard, 2)
        own = [video for video in videos if shard_of(video, 2) == shard]
        ids = b"".join((shard << BUCKET_SHIFT | at).to_bytes(8, "big") for at in range(len(own)))
        stamps = pack_numbers(range(1, len(own) + 1))
        opened.ledger.apply(Plays(1, "a/plays", ids, b"".join(own), stamps), NOW_MS, NOW_MS * 1_000_000)
        opened.commit()
        opened.close()
    before = whole(state_dir, 2)
    assert len(before[0]) == len(videos)
    for shards in (1, 3, 2):
        reshard(state_dir, shards)
        assert whole(state_dir, shards) == before
        assert not any(finding.wrong for finding in verify(state_dir))


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_redeliveries_are_known_wherever_their_video_is_counted_now(state_dir, shards):
    reshard(state_dir, shards)
    for shard in range(shards):
        opened = Opened(state_dir, shard, shards)
        before = opened.ledger.tallies
        messages = [plays(number, shards, shard) for number in range(1, 6)]
        for message in messages:
            opened.ledger.apply(message, NOW_MS, NOW_MS * 1_000_000)
        opened.ledger.reject(rejected(7), NOW_MS)
        after = opened.ledger.tallies
        assert after.counted == before.counted
        assert after.dead_lettered == before.dead_lettered
        assert after.redelivered == before.redelivered + sum(len(one.ids) // 8 for one in messages) + 1
        opened.close()


def test_plays_that_name_their_identity_are_known_wherever_they_are_counted_now(tmp_path):
    state_dir = str(tmp_path)

    def named(shards, shard):
        found = plays(1, shards, shard)
        return structs.replace(found, ids=bytes(len(found.ids)), play_ids=found.videos)

    def apply(shards, shard):
        opened = Opened(state_dir, shard, shards)
        opened.ledger.apply(named(shards, shard), NOW_MS, NOW_MS * 1_000_000)
        opened.commit()
        opened.close()
        return opened.ledger.tallies

    counted = sum(apply(2, shard).counted for shard in (0, 1))
    assert counted == len(VIDEOS)
    for shards in (3, 1, 2):
        assert reshard(state_dir, shards).ids == counted, "each is kept once"
        tallies = [apply(shards, shard) for shard in range(shards)]
        assert sum(one.counted for one in tallies) == counted
        assert not any(finding.wrong for finding in verify(state_dir))
    assert sum(one.duplicates for one in tallies) > 0 or sum(one.redelivered for one in tallies) > 0


def test_each_ledger_knows_how_many_stores_the_dispatcher_had_made(state_dir):
    """So that an older copy of the dispatcher's store is noticed."""
    outbox = SqliteOutboxStore(state_dir, 2, "NORMAL", "plays")
    _, totals = outbox.load()
    outbox.store([], structs.replace(totals, stores=17))
    outbox.close()
    opened = Opened(state_dir, 0, 2)
    opened.ledger.heard_of(17)
    opened.ledger.reject(rejected(8), NOW_MS)
    opened.commit()
    opened.close()
    reshard(state_dir, 3)
    for shard in range(3):
        opened = Opened(state_dir, shard, 3)
        assert opened.ledger.tallies.stores == 17
        opened.close()


def test_the_same_number_is_nothing_to_do(state_dir):
    before = files(state_dir)
    assert reshard(state_dir, 2) is None
    assert files(state_dir) == before


def test_what_was_replaced_is_gone_and_one_folder_holds_it_all(state_dir):
    reshard(state_dir, 3)
    reshard(state_dir, 4)
    found = sorted(name for name in files(state_dir) if name.endswith((".sqlite", ".mark", "-wal")))
    names = ["counter-0", "counter-1", "counter-2", "counter-3", "dispatcher"]
    assert found == [f"ledgers-2/{name}.{suffix}" for name in names for suffix in ("mark", "sqlite")]


def test_a_service_that_runs_is_not_divided(state_dir):
    lock = lock_file(Path(state_dir) / "service.lock")
    before = files(state_dir)
    with pytest.raises(Failure, match="stop it with"):
        reshard(state_dir, 3)
    os.close(lock)
    assert files(state_dir) == before


def test_ledgers_that_a_counter_still_has_open_are_waited_for(state_dir):
    """Their supervisor was killed, and they commit once more."""
    held = lock_file(ledger_path(state_dir, 1).with_suffix(".lock"))
    dividing = threading.Thread(target=reshard, args=(state_dir, 3), daemon=True)
    dividing.start()
    dividing.join(0.5)
    assert dividing.is_alive() and find(state_dir).shards == 2
    os.close(held)
    dividing.join(PATIENCE_S)
    assert find(state_dir).shards == 3


def test_where_the_disk_fails_it_is_said_and_the_ledgers_are_as_they_were(state_dir, monkeypatch):
    def fail(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    before = whole(state_dir, 2)
    monkeypatch.setattr(sys.modules[reshard.__module__], "sync", fail)
    with pytest.raises(Failure, match=r"not redistributed .*Input/output error"):
        reshard(state_dir, 3)
    assert whole(state_dir, 2) == before


def test_damaged_ledgers_are_not_divided(state_dir):
    path = Path(state_dir) / "counter-1.sqlite"
    path.write_bytes(path.read_bytes()[:8192])
    before = files(state_dir)
    with pytest.raises(Failure, match=r"counter-1\.sqlite"):
        reshard(state_dir, 3)
    assert files(state_dir) == before


def test_no_ledgers_are_nothing_to_divide(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(Failure, match="no ledgers"):
            reshard(str(folder), 3)
    assert not (tmp_path / "none").exists()


def files(state_dir):
    root = Path(state_dir)
    others = (".lock", ".held", ".sqlite-shm")
    kept = (path for path in root.rglob("*") if path.is_file() and path.suffix not in others)
    found = {str(path.relative_to(root)): path.read_bytes() for path in kept}
    return {name: content for name, content in found.items() if content or not name.endswith("-wal")}


# For each line of stdin, [folder, step], reshards the folder in a fork that kills itself at that step.
DIES = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import sqlite3
from actors.store.reshard import reshard
left = 0
def step(event, arguments):
    global left
    if event in ("open", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "sqlite3.connect"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
for line in sys.stdin:
    folder, steps = json.loads(line)
    child = os.fork()
    if child == 0:
        left = steps
        sys.addaudithook(step)
        reshard(folder, 3)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_killed_at_any_step_the_old_or_the_new_set_is_whole_and_the_next_run_ends_it(state_dir, tmp_path):
    before = whole(state_dir, 2)
    outcomes = []
    words = [sys.executable, "-c", DIES, str(ROOT)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for step in range(1, 400, 3):
            copy = str(tmp_path / f"copy-{step}")
            shutil.copytree(state_dir, copy)
            print(json.dumps([copy, step]), file=process.stdin, flush=True)
            code = int(process.stdout.readline())
            assert code in (0, -signal.SIGKILL)
            if code == 0:
                break
            found = verify(copy)
            assert not any(finding.wrong for finding in found)
            shards = len(found) - 1
            outcomes.append(shards)
            if step % 2:  # in half of the runs, a service opens the ledgers before the next reshard
                assert whole(copy, shards) == before
            reshard(copy, 3)
            assert whole(copy, 3) == before
            shutil.rmtree(copy)
    assert code == 0, "no run came to its end: try more steps"
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {2, 3}


def test_killed_at_random_moments_it_starts_over(state_dir):
    before, chance, kills, shards, takes_s = whole(state_dir, 2), random.Random(1), 0, 2, 0.4
    words = [sys.executable, "supervisor.py", "reshard", "--set", f"supervisor.state_dir={state_dir}"]
    for _ in range(100):
        started_s = time.monotonic()
        process = subprocess.Popen(
            [*words, "--set", f"counters.shards={5 - shards}"], cwd=ROOT, stderr=subprocess.PIPE
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=chance.uniform(0.2, 1) * takes_s)
            takes_s = time.monotonic() - started_s  # it came to its end: kill the next ones earlier
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        shards = len(verify(state_dir)) - 1
        assert whole(state_dir, shards) == before
        if kills == 6:
            return
    raise AssertionError(f"{kills} of a hundred were killed")


BODIES = [b'{"video_id": "00000000-0000-4000-8000-%012d"}' % (number % 50) for number in range(4000)]


def test_a_service_killed_under_load_is_divided_into_three_and_one_and_goes_on(tmp_path):
    with (
        RecordingClient() as client,
        open_service(
            "embedded", tmp_path, *PATIENT, "dispatch.deadline_s=1", f"publish.url={client.url}"
        ) as service,
    ):
        arguments, put = list(service.arguments), 0
        for shards in (2, 3, 1):
            service.arguments = [*arguments, "--set", f"counters.shards={shards}"]
            if shards == 3:
                refused = service.command("run")
                assert refused.returncode == EXIT_STORE
                assert "python supervisor.py reshard" in refused.stderr
            if put:
                divided = service.command("reshard")
                assert divided.returncode == 0, divided.stderr
                found = verify(str(service.state_dir))
                assert len(found) == shards + 1
                assert not any(one.wrong for one in found)
            service.start()
            if not put:
                running = service.command("reshard")
                assert running.returncode == 1
                assert "stop it with" in running.stderr
            for start in range(0, len(BODIES), 500):
                service.queue.put("plays", *BODIES[start : start + 500])
            put += len(BODIES)
            # Kill it under load: plays that were counted and not finished come again, to other shards.
            if shards != 1:
                wait_counted(service, put - 3500)
                service.kill()
        wait_caught_up(service, put)
        totals = ledger_totals(service)
        assert sum(totals.values()) == put == service.status()["plays"]["counted"]
        assert client.totals == totals
        assert client.wrong == []
