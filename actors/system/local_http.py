"""A request to a service on this machine, by a socket: `status` needs neither TLS nor proxies nor redirects.

Python's own client imports all that, and the parser of mail, which takes longer than the request.
"""

import socket
from collections.abc import Mapping

from .addresses import split_address

ANSWER_BYTES_MAX = 1 << 28
_HEAD_END = b"\r\n\r\n"


def get(address: str, path: str, headers: Mapping[str, str], timeout_s: float) -> bytes:
    """Return the body of the answer to GET. Waits at most `timeout_s` seconds for the next bytes.

    Raises `OSError` without an answer, and `ValueError` if it is not a whole answer with the code 200.
    """
    lines = [f"GET {path} HTTP/1.1", f"Host: {address}", "Connection: close", "Accept-Encoding: identity"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection(split_address(address), timeout_s) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = bytearray()
        while part := connection.recv(1 << 16):
            answer += part
            if len(answer) > ANSWER_BYTES_MAX:
                raise ValueError(f"an answer of more than {ANSWER_BYTES_MAX:,} bytes")
    if not answer:
        raise ConnectionResetError("the connection was closed without an answer")
    return _body(bytes(answer))


def _body(answer: bytes) -> bytes:
    head, end, body = answer.partition(_HEAD_END)
    first, *fields = head.decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    if not (end and version.startswith("HTTP/1.")):
        raise ValueError("the answer is not HTTP")
    if not status.startswith("200"):
        raise ValueError(f"HTTP Error {status.replace(' ', ': ', 1)}")
    named = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
    length = named.get("content-length", "")
    if length.isdecimal() and int(length) != len(body):
        raise ValueError(f"the answer ended after {len(body):,} of {int(length):,} bytes")
    return body
