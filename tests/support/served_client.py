"""The reference client in a thread of the test's process."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from actors.client.server import ReferenceClient
from tests.support.patience import PATIENCE_S


class Served:
    """A client in a thread of this process, which starts faster than a process and has real sockets."""

    def __init__(self, path: Path, token: Callable[[], str] = str) -> None:
        """`token`: returns the one that it asks for, "" for none."""
        self._path, self._token = path, token
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def call(self, function: Callable[[], object]) -> None:
        """Call it in the client's loop, soon."""
        self._loop.call_soon_threadsafe(function)

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self.client = ReferenceClient.start(self._path, "127.0.0.1:0", token=self._token)
        self.port = self.client.port
        self._ready.set()
        await self._ended.wait()
        await self.client.stop()
