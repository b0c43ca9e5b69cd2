"""What a publish over HTTP costs with each library that could send it: CPU and wall time of one POST.

    pip install aiohttp h11 pycurl; python -m bench.http_clients [--publishes 400] [--rounds 9]

Each way sends the same POST of 20 videos on a kept connection, one after the other, and parses the answer. A
way whose library is not installed is left out. The client is a process of its own that answers at once. The
ways take turns, so that a busy machine is busy for all. `body` is what all have in common. `sink` is the
service's own (`actors/sinks/http.py`); the others do no more than they must. docs/decisions/0008 says what
followed.
"""

import asyncio
import http.client
import importlib
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from tornado.httputil import HTTPHeaders, parse_response_start_line

from actors.config import PublishSection
from actors.core.dispatcher.outbox import Batch, Entry, make_batch, payload
from actors.core.triggers import Trigger
from actors.sinks import HttpSink

from .command import add_json, parser, show, write_json

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
BATCH = make_batch(
    "bench", Trigger.DEADLINE, [Entry(os.urandom(16), 4711, 1_795_502_904_123_456_789) for _ in range(20)]
)
Send = Callable[[], Awaitable[int]]


class Figures(msgspec.Struct):
    """One way: medians of its rounds. The ratio is to `streams`, round by round."""

    way: str
    cpu_us: float
    wall_us: float
    cpu_to_streams: float


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--publishes", type=int, default=400, help="of each way in each round")
    arguments.add_argument("--rounds", type=int, default=9)
    add_json(arguments)
    options = arguments.parse_args()
    ours, theirs = multiprocessing.Pipe()
    client = multiprocessing.get_context("spawn").Process(target=_answer_all, args=(theirs,), daemon=True)
    client.start()
    try:
        figures = asyncio.run(_measure(ours.recv(), options.publishes, options.rounds))
    finally:
        client.terminate()
    show(
        ("way", "CPU, µs", "wall, µs", "CPU to streams"),
        [
            (one.way, f"{one.cpu_us:.0f}", f"{one.wall_us:.0f}", f"{one.cpu_to_streams:.2f}")
            for one in figures
        ],
        "a POST of 20 videos on a kept connection",
    )
    write_json(options.json, figures)


async def _measure(port: int, publishes: int, rounds: int) -> list[Figures]:
    ways = {}
    for make in (_body, _streams, _sink, _httptools, _h11, _aiohttp, _pycurl, _http_client):
        try:
            ways[make.__name__.strip("_")] = await make(port)
        except ImportError as error:
            print(f"{make.__name__.strip('_')} is left out: {error}")
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for number in range(1 + rounds):
        for way, send in ways.items():
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            for _ in range(publishes):
                assert await send() == 200
            spent = time.process_time() - cpu_s, time.perf_counter() - wall_s
            if number:  # the first round connects, and runs some code for the first time
                taken[way].append((spent[0] / publishes * 1e6, spent[1] / publishes * 1e6))
    return [
        Figures(
            way,
            statistics.median(cpu for cpu, _ in found),
            statistics.median(wall for _, wall in found),
            statistics.median(one[0] / base[0] for one, base in zip(found, taken["streams"], strict=True)),
        )
        for way, found in taken.items()
    ]


# The client


class _Answering(asyncio.Protocol):
    def __init__(self) -> None:
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, found, body = self._held.partition(b"\r\n\r\n")
        length = head.lower().rpartition(b"content-length:")[2].partition(b"\r\n")[0]
        if found and len(body) >= int(length):
            self._held = b""
            self._transport.write(ANSWER)


def _answer_all(ready: Any) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


# The ways


def _made(batch: Batch) -> tuple[dict[str, str], bytes]:
    body = json.dumps(payload(batch), separators=(",", ":")).encode()
    headers = {
        "User-Agent": "playtally",
        "Content-Type": "application/json",
        "Idempotency-Key": batch.key,
        "X-Playtally-Sent-At-Ms": str(time.time_ns() // 1_000_000),
    }
    return headers, body


def _request(port: int) -> bytes:
    headers, body = _made(BATCH)
    headers |= {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(body))}
    lines = ["POST /plays HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _body(port: int) -> Send:
    async def send() -> int:
        _request(port)
        return 200

    return send


async def _streams(port: int) -> Send:
    """What the sink did before: asyncio's streams, tornado's parsers, two time-outs."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> int:
        writer.write(_request(port))
        async with asyncio.timeout(10):
            start = parse_response_start_line((await reader.readline()).decode("latin1").rstrip("\r\n"))
            head = ""
            while (line := (await reader.readline()).decode("latin1")).strip():
                head += line
            headers = HTTPHeaders.parse(head)
        async with asyncio.timeout(0.5):
            await reader.readexactly(int(headers["Content-Length"]))
        return start.code

    return send


async def _sink(port: int) -> Send:
    sink = HttpSink(PublishSection(url=f"http://127.0.0.1:{port}/plays", gzip=False))

    async def send() -> int:
        return 200 if (await sink.deliver(BATCH)).outcome == "accepted" else 0

    return send


async def _httptools(port: int) -> Send:
    parsing = importlib.import_module("httptools")
    loop = asyncio.get_running_loop()

    class Protocol(asyncio.Protocol):
        answered: "asyncio.Future[int]"

        def data_received(self, data: bytes) -> None:
            self.parser.feed_data(data)

        def on_message_complete(self) -> None:
            self.answered.set_result(self.parser.get_status_code())

        def begin(self) -> "asyncio.Future[int]":
            self.parser = parsing.HttpResponseParser(self)
            self.answered = loop.create_future()
            return self.answered

    transport, protocol = await loop.create_connection(Protocol, "127.0.0.1", port)

    async def send() -> int:
        answered = protocol.begin()
        transport.write(_request(port))
        async with asyncio.timeout(10):
            return await answered

    return send


async def _h11(port: int) -> Send:
    h11 = importlib.import_module("h11")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = h11.Connection(h11.CLIENT)

    async def send() -> int:
        headers, body = _made(BATCH)
        headers |= {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(body))}
        writer.write(
            connection.send(h11.Request(method="POST", target="/plays", headers=list(headers.items())))
        )
        writer.write(connection.send(h11.Data(data=body)) + connection.send(h11.EndOfMessage()))
        status = 0
        async with asyncio.timeout(10):
            while type(event := connection.next_event()) is not h11.EndOfMessage:
                if event is h11.NEED_DATA:
                    connection.receive_data(await reader.read(65_536))
                elif type(event) is h11.Response:
                    status = event.status_code
        connection.start_next_cycle()
        return status

    return send


async def _aiohttp(port: int) -> Send:
    aiohttp = importlib.import_module("aiohttp")
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))

    async def send() -> int:
        headers, body = _made(BATCH)
        url = f"http://127.0.0.1:{port}/plays"
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            await answer.read()
            return int(answer.status)

    return send


async def _pycurl(port: int) -> Send:
    pycurl = importlib.import_module("pycurl")
    curl, thread = pycurl.Curl(), ThreadPoolExecutor(1)
    curl.setopt(pycurl.URL, f"http://127.0.0.1:{port}/plays")
    curl.setopt(pycurl.TIMEOUT, 10)
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.WRITEFUNCTION, lambda piece: None)

    def perform() -> int:
        headers, body = _made(BATCH)
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in headers.items()])
        curl.setopt(pycurl.POSTFIELDS, body)
        curl.perform()
        return int(curl.getinfo(pycurl.RESPONSE_CODE))

    async def send() -> int:
        return await asyncio.get_running_loop().run_in_executor(thread, perform)

    return send


async def _http_client(port: int) -> Send:
    connection, thread = http.client.HTTPConnection("127.0.0.1", port, timeout=10), ThreadPoolExecutor(1)

    def perform() -> int:
        headers, body = _made(BATCH)
        connection.request("POST", "/plays", body, headers)
        with connection.getresponse() as answer:
            answer.read()
            return answer.status

    async def send() -> int:
        return await asyncio.get_running_loop().run_in_executor(thread, perform)

    return send


if __name__ == "__main__":
    main()
