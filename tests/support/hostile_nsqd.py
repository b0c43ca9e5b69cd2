"""A fake nsqd. A script answers each connection. When all scripts are used, it hands connections on to a real
queue, so that a test can check whether the reader still works.
"""

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

Script = Callable[[socket.socket], None]
IDENTIFIED = json.dumps({"max_rdy_count": 2500, "msg_timeout": 1000}).encode()


class HostileNsqd:
    """Listens on 127.0.0.1, in threads, while the context is open."""

    def __init__(self, queue_address: str, scripts: list[Script]):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._queue_address = queue_address
        self._scripts = scripts
        self.taken = 0
        self._open: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def played(self) -> bool:
        """Whether every script has got a connection."""
        return self.taken >= len(self._scripts)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self._open.append(connection)
                script = self._scripts[self.taken] if not self.played else self._hand_on
                self.taken += 1
                threading.Thread(target=self._run, args=(script, connection), daemon=True).start()

    def _run(self, script: Script, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            script(connection)

    def _hand_on(self, connection: socket.socket) -> None:
        host, _, port = self._queue_address.rpartition(":")
        queue = socket.create_connection((host, int(port)))
        self._open.append(queue)
        threading.Thread(target=_pour, args=(queue, connection), daemon=True).start()
        _pour(connection, queue)


def _pour(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while content := source.recv(1 << 16):
            target.sendall(content)


def frame(kind: int, content: bytes) -> bytes:
    """A correct frame."""
    return struct.pack(">ii", 4 + len(content), kind) + content


def message(identity: bytes, body: bytes, stamp: int = 1) -> bytes:
    """A message frame. It is correct if `identity` is 16 hexadecimal digits."""
    return frame(2, struct.pack(">qH", stamp, 1) + identity + body)


def at_once(content: bytes) -> Script:
    """Send `content` as soon as a client connects, then wait until the client hangs up."""

    def script(connection: socket.socket) -> None:
        connection.sendall(content)
        wait_for_end(connection)

    return script


def once_subscribed(content: bytes, identified: bytes = IDENTIFIED, hangs_up: bool = False) -> Script:
    """Let the client subscribe, and send `content`. Then wait for the client to hang up, or hang up first."""
    return _once(b"SUB ", frame(0, b"OK") + content, identified, hangs_up)


def once_published(content: bytes, hangs_up: bool = False) -> Script:
    """Let the client identify itself, and answer its first MPUB with `content`. Then as `once_subscribed`."""
    return _once(b"MPUB ", content, IDENTIFIED, hangs_up)


def _once(command: bytes, content: bytes, identified: bytes, hangs_up: bool) -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(frame(0, identified))
        heard = b""
        while command not in heard:
            piece = connection.recv(1 << 16)
            if not piece:
                return
            heard += piece
        connection.sendall(content)
        if not hangs_up:
            wait_for_end(connection)

    return script


def wait_for_end(connection: socket.socket) -> None:
    """Read until the other side hangs up."""
    while connection.recv(1 << 16):
        pass
