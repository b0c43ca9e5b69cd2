"""Sockets that read exactly what they are asked for, and an HTTP answer as it comes."""

import contextlib
import socket
import time

from actors.system.addresses import split_address

_CONNECT_S = 20


class Wire:
    """One TCP connection. `read` raises `EOFError` at its end and `TimeoutError` if nothing comes in time."""

    def __init__(self, address: str) -> None:
        self._socket = socket.create_connection(split_address(address), _CONNECT_S)
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Send it; if the other side has closed, that is seen when reading."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.settimeout(_CONNECT_S)
            self._socket.sendall(data)

    def end_sending(self) -> None:
        """Close the sending half."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def read(self, size: int, end: float) -> bytes:
        """The next `size` bytes. `end`: until when (monotonic s)."""
        while len(self._buffer) < size:
            self._more(end)
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def read_line(self, end: float) -> bytes:
        """The next line, without its end."""
        while b"\n" not in self._buffer:
            self._more(end)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.removesuffix(b"\r")

    def read_all(self, end: float) -> bytes:
        """Everything until the connection ends."""
        with contextlib.suppress(EOFError):
            while True:
                self._more(end)
        return self._buffer

    def close(self) -> None:
        self._socket.close()

    def _more(self, end: float) -> None:
        left_s = end - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)
        try:
            chunk = self._socket.recv(1 << 16)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            raise EOFError
        self._buffer += chunk


class HttpWire(Wire):
    """A connection to an HTTP server."""

    def answer(self, is_head: bool, end: float) -> tuple[str, list[tuple[str, str]], bytes]:
        """The next answer: its first line, its headers in lower case, its body. Skips 100 Continue."""
        status, headers = self._head(end)
        while status.split(" ")[1] == "100":
            status, headers = self._head(end)
        found = dict(headers)
        if is_head:
            return status, headers, b""
        if found.get("transfer-encoding") == "chunked":
            return status, headers, self._chunks(end)
        if "content-length" in found:
            return status, headers, self.read(int(found["content-length"]), end)
        return status, headers, self.read_all(end)

    def _head(self, end: float) -> tuple[str, list[tuple[str, str]]]:
        status = self.read_line(end).decode("latin-1")
        headers = []
        while line := self.read_line(end).decode("latin-1"):
            name, _, value = line.partition(":")
            headers.append((name.lower(), value.strip()))
        return status, headers

    def _chunks(self, end: float) -> bytes:
        found = b""
        while size := int(self.read_line(end), 16):
            found += self.read(size, end)
            self.read_line(end)
        self.read_line(end)
        return found
