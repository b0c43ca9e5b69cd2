"""Requests that came in one piece, and have nothing that needs an HTTP server. Reading one costs little.

A listener that gets the same request hundreds of times a second takes it here. `whole_request` refuses
whatever is unusual: it is no judge of a request, and the server reads that one in full. Pure.
"""

from collections.abc import Collection
from typing import NamedTuple

_LENGTH_DIGITS_MAX = 8


class Kind(NamedTuple):
    """Which requests: their first line, and the headers that they may have, by names in lower case."""

    start: str
    headers: Collection[str]


class WholeRequest(NamedTuple):
    """A request. `headers`: by names in lower case."""

    headers: dict[str, str]
    body: bytes


def whole_request(came: bytes, kind: Kind) -> WholeRequest | None:
    """The request that these bytes are: one of that kind, and nothing else. None if they are anything else.

    It has each header once, among them Host and Content-Length.
    """
    head, _, body = came.partition(b"\r\n\r\n")
    try:
        start, *lines = head.decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        return None
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or name not in kind.headers or name in headers or not value.isprintable():
            return None
        headers[name] = value.strip(" ")
    length = headers.get("content-length", "")
    is_length = length.isdigit() and len(length) <= _LENGTH_DIGITS_MAX and int(length) == len(body)
    if start != kind.start or not is_length or "host" not in headers:
        return None
    return WholeRequest(headers, body)
