"""The body of an MPUB, by TCP or by HTTP: bytes in, messages out (nsqd/protocol_v2.go). Pure.

    | 4 bytes: count | 4 bytes: size | message | 4 bytes: size | message | ...

It is stricter than nsqd in one point: it refuses messages that do not fill the body exactly. nsqd would
read the rest of the body as the next command.
"""

import struct

from . import limits

_SIZE = struct.Struct(">i")


class Refused(Exception):
    """A client's bytes are not well-formed. Carries nsqd's error code and text; always fatal."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(code, description)
        self.code = code
        self.description = description


def split_multi(body: bytes) -> list[bytes]:
    """The messages of the body, at least one. Raises `Refused`."""
    if len(body) < 4:
        raise Refused("E_BAD_BODY", "MPUB failed to read message count")
    (count,) = _SIZE.unpack_from(body)
    if not 0 < count <= limits.MPUB_MESSAGES_MAX:
        raise Refused("E_BAD_BODY", f"MPUB invalid message count {count}")
    size, rest = divmod(len(body) - 4, count)
    if not rest and 4 < size <= 4 + limits.MESSAGE_SIZE_MAX:
        # Plays usually have one size. Then one C loop splits the body.
        records = struct.Struct(f">i{size - 4}s").iter_unpack(memoryview(body)[4:])
        bodies = [record for length, record in records if length == size - 4]
        if len(bodies) == count:
            return bodies
    return _split_unequal(body, count)


def _split_unequal(body: bytes, count: int) -> list[bytes]:
    bodies: list[bytes] = []
    position = 4
    total = len(body)
    for number in range(count):
        start = position + 4
        if start > total:
            raise Refused("E_BAD_MESSAGE", f"MPUB failed to read message({number}) body size")
        (size,) = _SIZE.unpack_from(body, position)
        if size <= 0:
            raise Refused("E_BAD_MESSAGE", f"MPUB invalid message({number}) body size {size}")
        if size > limits.MESSAGE_SIZE_MAX:
            raise Refused("E_BAD_MESSAGE", f"MPUB message too big {size} > {limits.MESSAGE_SIZE_MAX}")
        position = start + size
        if position > total:
            raise Refused("E_BAD_MESSAGE", "MPUB failed to read message body")
        bodies.append(body[start:position])
    if position != total:
        raise Refused("E_BAD_BODY", f"MPUB body size {total}, but its messages end at {position}")
    return bodies
