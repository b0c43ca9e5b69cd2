"""How fast the embedded nsqd is: plays in, plays out, and both at once; compared with a real nsqd.

    python -m bench.queue [--plays 200000] [--kind embedded] [--profile FILE]
    python -m bench.queue --ref REF [--rounds 5]

In: one client publishes MPUBs of 1,000 plays, with at most four unanswered. Out: one raw reader with RDY 2500
reads as much as there is and finishes it with one write. Both: publisher and reader at once. Each client has
its own process, as real clients do, and is the same for both kinds of queue. The ratio compares with the nsqd
on PATH, if there is one, measured in the same run.

With --ref, the embedded nsqd of the commit REF is compared with this one: the CPU time of its process, user
and system, per play. The two take turns, and the round that took least counts: whatever else runs only adds
to it. One more phase is measured, "alone": one client publishes one play after the other, and each has a
commit of its own.
"""

import contextlib
import multiprocessing
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

from actors.system.installation import ROOT
from tests.support.queues import QUEUES, QueueProcess, multi, sized

from .checkouts import commit
from .command import folder, kinds, parser, show
from .processes import cpu_s

PLAYS_PER_MPUB = 1_000
MPUBS_AHEAD = 4
READY_COUNT = 2_500
ALONE_MIN = 4_000  # with 800, the same code took 19 to 47 µs a play to read: by a few commits more or less
VIDEOS = 100
TOPIC, CHANNEL = "plays", "bench"
_HEAD_SIZE = 34
_STALL_S = 30

Client = Callable[[int, int, Barrier], None]


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--plays", type=int, default=200_000)
    arguments.add_argument("--kind", choices=QUEUES, action="append")
    arguments.add_argument("--profile", metavar="FILE", help="write a cProfile of the embedded nsqd to FILE")
    arguments.add_argument("--ref", help="compare with the embedded nsqd of this commit")
    arguments.add_argument("--rounds", type=int, default=5, help="with --ref (default: 5)")
    options = arguments.parse_args()
    if options.ref:
        _compare(options.ref, options.plays, options.rounds)
        return
    rates = {kind: _measured(kind, options.plays, options.profile) for kind in options.kind or kinds()}
    _show(rates, options.plays)


def _measured(kind: str, plays: int, profile: str | None) -> dict[str, float]:
    with folder() as path:
        queue = QueueProcess(kind, path, profile=profile)
        try:
            queue.start()
            queue.post(f"/topic/create?topic={TOPIC}")
            queue.post(f"/channel/create?topic={TOPIC}&channel={CHANNEL}")
            rates = {
                "in": _rate(plays, (_publish,), queue),
                "out": _rate(plays, (_consume,), queue),
                "both at once": _rate(plays, (_publish, _consume), queue),
            }
            left = queue.unfinished(TOPIC, CHANNEL)
            assert left == 0, f"{left} plays are left in the queue, expected none"
            queue.stop()
            return rates
        finally:
            queue.close()


def _compare(ref: str, plays: int, rounds: int) -> None:
    found: dict[str, list[dict[str, float]]] = {"old": [], "new": []}
    with folder() as path:
        roots = {"old": commit(ref, path / "checkout").folder, "new": ROOT}
        for number in range(rounds):
            for name in sorted(roots, reverse=bool(number % 2)):
                found[name].append(_cpu_us(roots[name], path / f"{name}-{number}", plays))
    rows = []
    for phase in found["new"][0]:
        old, new = (min(one[phase] for one in found[name]) for name in ("old", "new"))
        rows.append([phase, f"{old:.2f}", f"{new:.2f}", f"{new / old:.2f}"])
    show(["phase", "old", "new", "new / old"], rows, f"CPU a play, µs: least of {rounds} rounds")


def _cpu_us(root: Path, path: Path, plays: int) -> dict[str, float]:
    """The queue's CPU time per play in each phase, in microseconds."""
    queue = QueueProcess("embedded", path)
    queue.root = root
    alone = max(ALONE_MIN, plays // 50)
    phases: list[tuple[str, int, tuple[Client, ...]]] = [
        ("in", plays, (_publish,)),
        ("out", plays, (_consume,)),
        ("alone", alone, (_publish_alone,)),
        ("alone, out", alone, (_consume,)),
        ("both at once", plays, (_publish, _consume)),
    ]
    try:
        queue.start()
        queue.post(f"/topic/create?topic={TOPIC}")
        queue.post(f"/channel/create?topic={TOPIC}&channel={CHANNEL}")
        used = {}
        for name, count, clients in phases:
            before = cpu_s(queue.pid)
            _rate(count, clients, queue)
            used[name] = (cpu_s(queue.pid) - before) / count * 1e6
        queue.stop()
        return used
    finally:
        queue.close()


def _rate(plays: int, clients: tuple[Client, ...], queue: QueueProcess) -> float:
    """Plays per second, from when all clients are connected until the last client is done."""
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(len(clients) + 1)
    processes = [context.Process(target=client, args=(queue.tcp_port, plays, together)) for client in clients]
    for process in processes:
        process.start()
    together.wait(_STALL_S)
    begin = time.perf_counter()
    together.wait()
    seconds = time.perf_counter() - begin
    for process in processes:
        process.join()
        assert process.exitcode == 0, f"a client ended with {process.exitcode}"
    return plays / seconds


def _publish(port: int, plays: int, together: Barrier) -> None:
    videos = [str(uuid.UUID(int=number)) for number in range(VIDEOS)]
    bodies = [b'{"video_id":"%s"}' % videos[i % VIDEOS].encode() for i in range(PLAYS_PER_MPUB)]
    command = b"MPUB plays\n" + sized(multi(bodies))
    with _connected(port) as client:
        _in_step(together)
        waiting = -(-plays // PLAYS_PER_MPUB)
        unanswered = 0
        while waiting or unanswered:
            while waiting and unanswered < MPUBS_AHEAD:
                client.sendall(command)
                waiting -= 1
                unanswered += 1
            answered = client.recv(1 << 16)
            assert answered and not len(answered) % 10, f"not an OK: {answered!r}"
            unanswered -= len(answered) // 10
        together.wait()


def _publish_alone(port: int, plays: int, together: Barrier) -> None:
    command = b"PUB plays\n" + sized(b'{"video_id":"%s"}' % str(uuid.UUID(int=1)).encode())
    with _connected(port) as client:
        _in_step(together)
        for _ in range(plays):
            client.sendall(command)
            answer = client.recv(64)
            assert answer[8:] == b"OK", f"not an OK: {answer!r}"
        together.wait()


def _consume(port: int, plays: int, together: Barrier) -> None:
    with _connected(port) as client:
        client.sendall(b"SUB plays bench\n")
        assert client.recv(64)[8:] == b"OK"
        _in_step(together)
        client.sendall(b"RDY %d\n" % READY_COUNT)
        buffer = bytearray()
        seen: set[bytes] = set()
        while len(seen) < plays:
            chunk = client.recv(1 << 18)
            assert chunk, "the queue ended the connection"
            buffer += chunk
            position, finishes = 0, []
            while len(buffer) - position >= 8:
                size = int.from_bytes(buffer[position : position + 4], "big")
                if len(buffer) - position < 4 + size:
                    break
                if buffer[position + 7] == 2:
                    id = bytes(buffer[position + 18 : position + _HEAD_SIZE])
                    seen.add(id)
                    finishes.append(b"FIN %s\n" % id)
                position += 4 + size
            del buffer[:position]
            client.sendall(b"".join(finishes))
        together.wait()


def _in_step(together: Barrier) -> None:
    """Wait for all clients. A client that fails breaks the barrier, which ends the others."""
    together.wait(_STALL_S)


@contextlib.contextmanager
def _connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), _STALL_S) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(b"  V2")
        yield client


def _show(rates: dict[str, dict[str, float]], plays: int) -> None:
    both = len(rates) == len(QUEUES)
    rows = []
    for phase in next(iter(rates.values())):
        row = [phase, *(f"{measured[phase]:,.0f}" for measured in rates.values())]
        if both:
            row.append(f"{rates['embedded'][phase] / rates['nsqd'][phase]:.2f}")
        rows.append(row)
    columns = ["phase", *rates, *(["embedded / nsqd"] if both else [])]
    show(columns, rows, f"{plays:,} plays, plays/s")


if __name__ == "__main__":
    main()
