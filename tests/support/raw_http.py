"""Requests with exactly the header lines that a test gives, and their answers."""

import socket
from typing import NamedTuple

from actors.system.addresses import split_address
from tests.support.patience import PATIENCE_S


class Answer(NamedTuple):
    """The answer to one request. `headers`: in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(address: str, method: str, target: str, *lines: str, body: bytes = b"") -> Answer:
    """Send a request of exactly these header lines; length and Connection are added."""
    head = [f"{method} {target} HTTP/1.1", *lines, f"Content-Length: {len(body)}", "Connection: close"]
    return say(address, "\r\n".join([*head, "", ""]).encode("latin-1") + body)


def say(address: str, request: bytes) -> Answer:
    host, port = split_address(address)
    with socket.create_connection((host.replace("0.0.0.0", "127.0.0.1"), port), PATIENCE_S) as connection:
        connection.sendall(request)
        found = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, rest = found.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    return Answer(int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}, rest)
