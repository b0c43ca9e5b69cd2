"""The frames that nsqd sends (nsqd/protocol_v2.go, nsqd/message.go), as bytes. Pure.

    | 4 bytes: size of the rest | 4 bytes: frame type | data |

and a message's data is

    | 8 bytes: arrival stamp, ns | 2 bytes: attempts | 16 bytes: id | body |
"""

import struct

RESPONSE = 0
ERROR = 1
MESSAGE = 2

MESSAGE_HEAD_SIZE = 4 + 4 + 8 + 2 + 16  # all of a message's frame before its body
MESSAGE_HEAD = struct.Struct(">IIQH")  # all of it before the id
_ATTEMPTS_START = 4 + 4 + 8
_ATTEMPTS_END = _ATTEMPTS_START + 2
_HEAD = struct.Struct(">II")
_ATTEMPTS = struct.Struct(">H")


def response(body: bytes) -> bytes:
    """The frame of a response."""
    return _HEAD.pack(len(body) + 4, RESPONSE) + body


def error(text: str) -> bytes:
    """The frame of an error, such as "E_INVALID invalid message ID"."""
    body = text.encode("utf-8", "surrogateescape")
    return _HEAD.pack(len(body) + 4, ERROR) + body


def with_attempts(frame: bytes, attempts: int) -> bytes:
    """The same message frame with another number of attempts, at most 65535."""
    return frame[:_ATTEMPTS_START] + _ATTEMPTS.pack(attempts) + frame[_ATTEMPTS_END:]


OK = response(b"OK")
CLOSE_WAIT = response(b"CLOSE_WAIT")
HEARTBEAT = response(b"_heartbeat_")
BAD_PROTOCOL = error("E_BAD_PROTOCOL")
