"""The least that the service's shape can do with a lone play: its processes, messages and writes, no rules.

    python -m bench.chain ADDRESS TOPIC URL FOLDER

A reader, two counters and a dispatcher, forked from this process, without an event loop. Each play makes what
it makes in the service: the reader passes it on; the counter of its video commits its account and its id, and
writes its mark; it answers the reader, which then finishes the message; the dispatcher commits the batch and
the totals, writes its two marks, POSTs, logs the publish, and tells the counter, which commits that with the
next play. Nothing is checked, restarted, retried, limited or measured, and there is one play at a time.

`bench.lone --chain` measures the service beside it. It prints the pids of its processes, as JSON.
"""

import json
import os
import selectors
import socket
import sqlite3
from hashlib import blake2b
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tests.support.queues import RawClient

from .command import parser

CHANNEL = "chain"
DAY_S = 86_400.0
MESSAGE_BYTES = 1 << 16
SHARDS = 2
WRITE_JOURNAL = "INSERT INTO journal VALUES (?, ?)"
WRITE_SEEN = "INSERT INTO seen VALUES (?, ?)"
WRITE_BATCH = "INSERT OR REPLACE INTO batches VALUES (?, ?)"
WRITE_TOTALS = "INSERT OR REPLACE INTO totals VALUES (0, ?)"

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode


def main() -> None:
    """Run until a signal."""
    arguments = parser(__doc__)
    arguments.add_argument("address")
    arguments.add_argument("topic")
    arguments.add_argument("url")
    arguments.add_argument("folder", type=Path)
    options = arguments.parse_args()
    to_counters = [_pair() for _ in range(SHARDS)]
    to_dispatcher = [_pair() for _ in range(SHARDS)]
    pids = {}
    for shard in range(SHARDS):
        if (pid := os.fork()) == 0:
            _count(options.folder / f"counter-{shard}", to_counters[shard][1], to_dispatcher[shard][0])
        pids[f"counter-{shard}"] = pid
    if (pid := os.fork()) == 0:
        _dispatch(options.folder / "dispatcher", options.url, [theirs for _, theirs in to_dispatcher])
    print(json.dumps(pids | {"dispatcher": pid, "reader": os.getpid()}), flush=True)
    _read(options.address, options.topic, [ours for ours, _ in to_counters])


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _read(address: str, topic: str, counters: list[socket.socket]) -> None:
    with RawClient(address) as queue:
        queue.subscribe(topic, CHANNEL, ready=1)
        while True:
            message = queue.message(DAY_S)
            video = bytes.fromhex(json.loads(message.body)["video_id"].replace("-", ""))
            counter = counters[video[-1] % SHARDS]
            counter.send(encode(("plays", message.id, video, message.stamp_ns)))
            counter.recv(MESSAGE_BYTES)  # counted
            queue.finish(message.id)


def _count(path: Path, reader: socket.socket, dispatcher: socket.socket) -> None:
    connection, mark = _open(path, "journal (number, accounts)", "seen (number, ids)")
    accounts: dict[bytes, int] = {}
    recorded, number = list[str](), 0
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        selector.register(dispatcher, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is dispatcher:
                    recorded.append(decode(dispatcher.recv(MESSAGE_BYTES))[1])  # published
                    continue
                _, message, video, stamp_ns = decode(reader.recv(MESSAGE_BYTES))
                number += 1
                total = accounts[video] = accounts.get(video, 0) + 1
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(WRITE_JOURNAL, (number, encode([video, total, recorded])))
                connection.execute(WRITE_SEEN, (number, message))
                connection.execute("COMMIT")
                os.pwrite(mark, number.to_bytes(24, "little"), 0)
                reader.send(encode(("counted", number)))
                dispatcher.send(encode(("pending", video, total, stamp_ns, recorded)))
                recorded = []


def _dispatch(path: Path, url_text: str, counters: list[socket.socket]) -> None:
    connection, mark = _open(path, "batches (key TEXT PRIMARY KEY, content)", "totals (id PRIMARY KEY, n)")
    url = urlsplit(url_text)
    head = f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: %d\r\n\r\n".encode()
    publishes = 0
    with (
        open(path / "log", "wb", buffering=0) as log,
        socket.create_connection((url.hostname, url.port)) as client,
        selectors.DefaultSelector() as selector,
    ):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for peer in counters:
            selector.register(peer, selectors.EVENT_READ, peer)
        while True:
            for ready, _ in selector.select():
                counter: socket.socket = ready.data
                _, video, total, stamp_ns, over = decode(counter.recv(MESSAGE_BYTES))
                publishes += 1
                key = blake2b(video + total.to_bytes(8, "little"), digest_size=16).hexdigest()
                connection.execute("BEGIN IMMEDIATE")
                for one in over:
                    connection.execute("DELETE FROM batches WHERE key = ?", (one,))
                connection.execute(WRITE_BATCH, (key, encode([key, video, total, stamp_ns])))
                connection.execute(WRITE_TOTALS, (publishes,))
                connection.execute("COMMIT")
                for _ in range(2):
                    os.pwrite(mark, publishes.to_bytes(24, "little"), 0)
                told = {"video_id": video.hex(), "plays": total, "arrived_at_ns": stamp_ns}
                publish = json.dumps({"batch": key, "videos": [told]}).encode()
                client.sendall(head % len(publish) + publish)
                answer = client.recv(MESSAGE_BYTES)
                assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\n"), answer
                log.write(publish + b"\n")
                counter.send(encode(("published", key)))


def _open(path: Path, *tables: str) -> tuple[sqlite3.Connection, int]:
    """A store, and the file of its mark."""
    path.mkdir()
    connection = sqlite3.connect(path / "store", isolation_level=None)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
    for table in tables:
        connection.execute(f"CREATE TABLE {table}")
    return connection, os.open(path / "mark", os.O_RDWR | os.O_CREAT)


if __name__ == "__main__":
    main()
