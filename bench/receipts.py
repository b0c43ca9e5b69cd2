"""A light client in its own process, which notes when each publish came.

Owns the process (`python -m bench.receipts`) and its notes. That process reads the clock before it does
anything with the publish. Its clock and the queue's clock are both this machine's.
"""

import asyncio
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from actors.system.installation import ROOT

TIMEOUT_S = 120.0


class Receiver:
    """The client. It runs while the context is open. `url`: where it takes publishes."""

    def __init__(self) -> None:
        self.url = ""
        # A thread empties the pipe at once: the client could not answer while the pipe is full.
        self._noted: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.receipts"],
            cwd=ROOT,
            stdin=subprocess.PIPE,  # it ends with us, whatever ends us: nothing is ever written there
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches only this process
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._reader.join()
        self._process.wait()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

    def wait_ms(self, video: str, plays: int) -> float:
        """Wait for a publish with at least this total of the video. The milliseconds from arrival to receipt.

        Forgets the publishes before that one. Raises `TimeoutError`.
        """
        try:
            while True:
                noted = self._noted.get(timeout=TIMEOUT_S)
                for told in noted["publish"]["videos"]:
                    if told["video_id"] == video and told["plays"] >= plays:
                        return _wait_ms(noted, told)
        except queue.Empty:
            raise TimeoutError(f"{plays} plays of {video} were not published in {TIMEOUT_S:g} s") from None

    def waits_ms(self) -> Iterator[tuple[str, float]]:
        """(video, wait in ms) of all publishes that came and were not read before."""
        while not self._noted.empty():
            noted = self._noted.get()
            for told in noted["publish"]["videos"]:
                yield told["video_id"], _wait_ms(noted, told)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._noted.put(json.loads(line))


def _wait_ms(noted: dict[str, Any], told: dict[str, Any]) -> float:
    return float((noted["at_ns"] - told["arrived_at_ns"]) / 1e6)


class _Plays(RequestHandler):
    def post(self) -> None:
        at_ns = time.time_ns()
        print(json.dumps({"at_ns": at_ns, "publish": json.loads(self.request.body)}), flush=True)


async def _serve() -> None:
    sockets = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application([("/plays", _Plays)]))
    server.add_sockets(sockets)
    print(f"http://127.0.0.1:{sockets[0].getsockname()[1]}/plays", flush=True)
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), over.set)
    await over.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
