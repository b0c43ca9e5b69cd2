"""What many videos cost where nothing is counted: the reference client, its page, `totals`, and the disk.

    PATH="$(make -s nsqd):$PATH" python -m bench.videos [--videos 1000000 5000000]

For each number of videos a client's store is filled, and the reference client is started on it, alone in its
process. Its start and its memory (PSS) are compared with those of an empty one. Then it takes one publish
after another on one connection, and a page opens (GET /events): the longest wait for an answer, before and
while the snapshot is made and sent. After that ledgers are filled, as counters write them, and `supervisor.py
totals` prints them: until the first row is there, until all are, and its largest memory. nsqd's CPU a play
(`bench/unit.py`) is measured in the same run, if nsqd is on PATH.
"""

import argparse
import contextlib
import http.client
import itertools
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

from actors.cli.launch import COMMAND
from actors.client.store import ClientStore
from actors.core import guids
from actors.core.client.audit import Taken
from actors.core.client.promises import Promises, Publish, PublishedVideo
from actors.core.shards import shard_of
from actors.core.triggers import Trigger
from tests.support.queues import nsqd_path

from .command import NO_NSQD, add_json, folder, parser, show, write_json
from .processes import cpu_s, printed
from .store import NOW_MS, PLAYS_A_COMMIT, Shard
from .unit import nsqd_us_a_play

SHARDS = 2
VIDEOS_A_PUBLISH = 100  # while the store is filled
TIMEOUT_S = 300.0
AFTERWARDS = 300  # publishes of a video: what is in the store's journal before them is taken out
QUIET_S = 2.0  # publishes before the page opens
COLUMNS = (
    "videos",
    "client loads, s",
    "CPU, s",
    "bytes a video",
    "store, bytes a video",
    "longest wait, ms",
    "while a page opens",
    "page has it, s",
    "totals: first row, s",
    "all, s",
    "CPU, s",
    "MB at most",
    "ledgers, bytes a video",
)


class Figures(msgspec.Struct, frozen=True):
    """The figures for this number of videos. Waits are those for the answer to a publish."""

    videos: int
    load_s: float
    load_cpu_s: float
    client_bytes: float
    store_bytes: float
    quiet_ms: float
    opening_ms: float
    page_s: float
    first_row_s: float
    all_rows_s: float
    totals_cpu_s: float
    totals_mb: float
    ledger_bytes: float


class _Start(msgspec.Struct, frozen=True):
    """What a start of the client has taken."""

    wall_s: float
    cpu_s: float
    memory_bytes: int


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--videos", type=int, nargs="+", default=[1_000_000, 5_000_000])
    arguments.add_argument("--only", choices=["client", "totals"], help="measure one part")
    add_json(arguments)
    options = arguments.parse_args()
    results = [measure(videos, options) for videos in options.videos]
    show(COLUMNS, [_row(one) for one in results], "many videos, published and counted", texts=0)
    if nsqd_path() is None:
        print(NO_NSQD, file=sys.stderr)
    else:
        with folder() as path:
            print(f"nsqd, CPU a play: {nsqd_us_a_play(path):.1f} µs")
    write_json(options.json, results)


def measure(videos: int, options: argparse.Namespace) -> Figures:
    """The figures for this number of videos."""
    found = dict.fromkeys(Figures.__struct_fields__[1:], 0.0)
    if options.only != "totals":
        with folder() as path:
            found |= _client(path, videos)
    if options.only != "client":
        with folder() as path:
            found |= _totals(path, videos)
    return Figures(videos, **found)


def _row(one: Figures) -> list[str]:
    return [
        f"{one.videos:,}",
        f"{one.load_s:.2f}",
        f"{one.load_cpu_s:.2f}",
        f"{one.client_bytes:.0f}",
        f"{one.store_bytes:.0f}",
        f"{one.quiet_ms:.0f}",
        f"{one.opening_ms:.0f}",
        f"{one.page_s:.2f}",
        f"{one.first_row_s:.2f}",
        f"{one.all_rows_s:.2f}",
        f"{one.totals_cpu_s:.2f}",
        f"{one.totals_mb:.0f}",
        f"{one.ledger_bytes:.0f}",
    ]


def _client(path: Path, videos: int) -> dict[str, float]:
    _fill(path / "empty", 0)
    _fill(path / "full", videos)
    with _started(path / "empty") as (_, empty):
        pass
    with _started(path / "full") as (port, full):
        quiet_s, opening_s, page_s = _waits(port)
    return {
        "load_s": full.wall_s - empty.wall_s,
        "load_cpu_s": full.cpu_s - empty.cpu_s,
        "client_bytes": (full.memory_bytes - empty.memory_bytes) / videos,
        "store_bytes": _size(path / "full") / videos,
        "quiet_ms": quiet_s * 1000,
        "opening_ms": opening_s * 1000,
        "page_s": page_s,
    }


def _fill(path: Path, videos: int) -> None:
    """Fill a client's store: each video was published once."""
    chance = random.Random(1)
    with contextlib.closing(ClientStore(path)) as store:
        audit = store.load(Promises())
        widths = [VIDEOS_A_PUBLISH] * (videos // VIDEOS_A_PUBLISH) + [1] * AFTERWARDS
        for number, count in enumerate(widths):
            now_ns = time.time_ns()
            entries = [
                PublishedVideo(guids.text(chance.randbytes(16)), chance.randrange(1, 10_000), now_ns)
                for _ in range(count)
            ]
            taken = [Taken(Publish(f"{number}", Trigger.DEADLINE, tuple(entries)), now_ns, 0, 1, Promises())]
            store.commit(taken, audit.receive_again(taken), audit)


@contextlib.contextmanager
def _started(path: Path) -> Iterator[tuple[int, _Start]]:
    """The client's port, and what its start has taken."""
    command = [sys.executable, "-m", "actors.client", "--address", "127.0.0.1:0", "--data-path", str(path)]
    began_s = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        port = 0
        for line in process.stderr:
            if ready := re.search(r"ready at http://127\.0\.0\.1:(\d+)/", line):
                port = int(ready[1])
                break
        assert port, "the client did not start"
        wall_s = time.monotonic() - began_s
        memory_bytes = psutil.Process(process.pid).memory_full_info().pss
        yield port, _Start(wall_s, cpu_s(process.pid), memory_bytes)
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _waits(port: int) -> tuple[float, float, float]:
    """The longest waits for an answer to a publish, before and while a page opens, and how long it opens."""
    waits: list[tuple[float, float]] = []
    ended = threading.Event()
    publisher = threading.Thread(target=_publish, args=(port, waits, ended))
    publisher.start()
    time.sleep(QUIET_S)
    began_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as page:
        page.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = b""
        while b'"marks":' not in got[-400_000:]:  # the last part of the first event
            got += page.recv(1 << 20)
        opened_s = time.monotonic()
    ended.set()
    publisher.join()
    before = [lasted_s for at_s, lasted_s in waits if at_s < began_s]
    while_it_opens = [lasted_s for at_s, lasted_s in waits if at_s >= began_s and at_s - lasted_s <= opened_s]
    return max(before), max(while_it_opens), opened_s - began_s


def _publish(port: int, waits: list[tuple[float, float]], ended: threading.Event) -> None:
    """Publish twenty new videos at a time. Adds when each was answered, and how long that took."""
    chance, connection = random.Random(2), http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    for number in itertools.count():
        if ended.is_set():
            break
        now_ns = time.time_ns()
        videos = [
            {"video_id": guids.text(chance.randbytes(16)), "plays": 1, "arrived_at_ns": now_ns}
            for _ in range(20)
        ]
        body = msgspec.json.encode({"batch": f"page-{number}", "trigger": "realtime", "videos": videos})
        began_s = time.monotonic()
        connection.request("POST", "/plays", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        ended_s = time.monotonic()
        waits.append((ended_s, ended_s - began_s))
        time.sleep(0.002)
    connection.close()


def _size(path: Path) -> int:
    return sum(one.stat().st_size for one in path.iterdir())


def _totals(path: Path, videos: int) -> dict[str, float]:
    chance = random.Random(3)
    for number in range(SHARDS):
        shard = Shard(str(path), SHARDS, 0, number)
        for place in range(0, videos // SHARDS, PLAYS_A_COMMIT):
            played: list[bytes] = []
            while len(played) < PLAYS_A_COMMIT:
                video = chance.randbytes(16)
                if shard_of(video, SHARDS) == number:
                    played.append(video)
            shard.count(played, NOW_MS + place // 100)
        shard.store.close()
    first_s, all_s, used_s, most_mb = printed([*COMMAND, "totals", "--set", f"supervisor.state_dir={path}"])
    return {
        "first_row_s": first_s,
        "all_rows_s": all_s,
        "totals_cpu_s": used_s,
        "totals_mb": most_mb,
        "ledger_bytes": sum(one.stat().st_size for one in path.glob("counter-*.sqlite*")) / videos,
    }


if __name__ == "__main__":
    main()
