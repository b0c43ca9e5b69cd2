"""The commands of nsqd's protocol V2: bytes in, commands out. Pure.

Owns the framing of commands and every check that needs only the bytes. Knows no socket, state or
topic. A read may end anywhere in a command. The parser never holds more than one line and one body within
the limits, because it checks a size before it waits for the body. Codes and texts of the refusals are
those of nsqd 1.3.0 (nsqd/protocol_v2.go). Every refusal is fatal: after a `Refusal` the parser returns
nothing more.
"""

import re
import struct
from collections.abc import Callable

import msgspec

from . import limits
from .multi import Refused, split_multi
from .names import is_valid_name, quoted

MAGIC = b"  V2"
ID_LENGTH = 16
_FINISH_RUN = re.compile(rb"(?:FIN [^ \r\n]{16}\n)+")
_FINISH = struct.Struct("4x16sx")
_SIZE = struct.Struct(">i")


class Identify(msgspec.Struct, frozen=True):
    """IDENTIFY, with its JSON."""

    body: bytes


class Authenticate(msgspec.Struct, frozen=True):
    """AUTH, with its secret."""

    body: bytes


class Subscribe(msgspec.Struct, frozen=True):
    """SUB; both names are valid."""

    topic: str
    channel: str


class PublishMessages(msgspec.Struct, frozen=True):
    """PUB, MPUB or DPUB. `verb` says which, for the error if it fails."""

    verb: str
    topic: str
    bodies: list[bytes]
    delay_ms: int = 0


class SetReady(msgspec.Struct, frozen=True):
    """RDY: the client takes this many messages in flight."""

    count: int


class FinishMessages(msgspec.Struct, frozen=True):
    """Consecutive FINs as one command, because they come by the thousand."""

    ids: list[bytes]


class RequeueMessage(msgspec.Struct, frozen=True):
    """REQ; the delay is cut to REQUEUE_DELAY_MAX_MS."""

    id: bytes
    delay_ms: int


class TouchMessage(msgspec.Struct, frozen=True):
    """TOUCH."""

    id: bytes


class StartClose(msgspec.Struct, frozen=True):
    """CLS."""


class Nothing(msgspec.Struct, frozen=True):
    """NOP."""


class Refusal(msgspec.Struct, frozen=True):
    """Bytes that are not a valid command. If `code` is empty, the connection is closed without an answer.

    `verb`: the refused command. If the client's state forbids the command, nsqd's error is about the state
    alone.
    """

    code: str
    description: str
    verb: str = ""


Command = (
    Identify
    | Authenticate
    | Subscribe
    | PublishMessages
    | SetReady
    | FinishMessages
    | RequeueMessage
    | TouchMessage
    | StartClose
    | Nothing
    | Refusal
)


class _Incomplete(Exception):
    """Not an error: the command ends at `end` in the chunk, or later."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


class CommandParser:
    """The parser of one client's bytes. `held_bytes`: how many bytes of an unfinished command it holds."""

    def __init__(self) -> None:
        self.held_bytes = 0
        self._chunks: list[bytes] = []
        self._needed = 1
        self._refused = False

    def feed(self, chunk: bytes) -> list[Command]:
        """Take the next bytes. Returns the commands that they complete; the last may be a `Refusal`."""
        if self._refused:
            return []
        if self.held_bytes:
            self._chunks.append(chunk)
            self.held_bytes += len(chunk)
            if self.held_bytes < self._needed:
                return []
            chunk = b"".join(self._chunks)
            self._chunks.clear()
            self.held_bytes = 0
        commands: list[Command] = []
        position = 0
        try:
            while position < len(chunk):
                position = self._parse_one(chunk, position, commands)
        except _Incomplete as incomplete:
            rest = chunk[position:]
            self._chunks = [rest]
            self.held_bytes = len(rest)
            self._needed = incomplete.end - position
        return commands

    def _parse_one(self, chunk: bytes, position: int, commands: list[Command]) -> int:
        run = _FINISH_RUN.match(chunk, position)
        if run is not None:
            commands.append(FinishMessages([id for (id,) in _FINISH.iter_unpack(run.group())]))
            return run.end()
        line_end = chunk.find(b"\n", position, position + limits.LINE_SIZE_MAX)
        if line_end < 0:
            if len(chunk) - position >= limits.LINE_SIZE_MAX:
                self._refused = True
                commands.append(Refusal("", "a line is longer than nsqd's read buffer"))
                return len(chunk)
            raise _Incomplete(len(chunk) + 1)
        params = chunk[position:line_end].removesuffix(b"\r").split(b" ")
        parse = _PARSERS.get(params[0])
        try:
            if parse is None:
                raise Refused("E_INVALID", f"invalid command {_text(params[0])}")
            command, end = parse(params, chunk, line_end + 1)
        except Refused as refused:
            self._refused = True
            commands.append(Refusal(refused.code, refused.description, _text(params[0])))
            return len(chunk)
        commands.append(command)
        return end


def _parse_identify(params: list[bytes], chunk: bytes, start: int) -> tuple[Command, int]:
    body, end = _body(chunk, start, "IDENTIFY", "E_BAD_BODY", "body", limits.BODY_SIZE_MAX)
    return Identify(body), end


def _parse_auth(params: list[bytes], chunk: bytes, start: int) -> tuple[Command, int]:
    if len(params) != 1:
        raise Refused("E_INVALID", "AUTH invalid number of parameters")
    body, end = _body(chunk, start, "AUTH", "E_BAD_BODY", "body", limits.BODY_SIZE_MAX)
    return Authenticate(body), end


def _parse_sub(params: list[bytes], chunk: bytes, start: int) -> tuple[Command, int]:
    _demand(params, 3, "SUB insufficient number of parameters")
    topic = _topic(params, "SUB")
    if not is_valid_name(params[2]):
        raise Refused("E_BAD_CHANNEL", f"SUB channel name {quoted(params[2])} is not valid")
    return Subscribe(topic, params[2].decode()), start


def _parse_pub(params: list[bytes], chunk: bytes, start: int) -> tuple[Command, int]:
    _demand(params, 2, "PUB insufficient number of parameters")
    topic = _topic(params, "PUB")
    body, end = _message(chunk, start, "PUB")
    return PublishMessages("PUB", topic, [body]), end


def _parse_mpub(params: list[bytes], chunk: bytes, start: int) -> tuple[Command, int]:
    _demand(params, 2, "MPUB insufficient number of parameters")
    topic = _topic(params, "E_BAD_TOPIC MPUB")  # nsqd's text repeats the code too
    body, end = _body(chunk, start, "MPUB", "E_BAD_BODY", "body", limits.BODY_SIZE_MAX)
    return PublishMessages("MPUB", topic, split_multi(body)), end


def _parse_dpub(params: list[bytes], chunk: bytes, start: int) -> tuple[Command, int]:
    _demand(params, 3, "DPUB insufficient number of parameters")
    topic = _topic(params, "DPUB")
    delay_ms = _base10(params[2], "DPUB could not parse timeout")
    if delay_ms > limits.REQUEUE_DELAY_MAX_MS:
        raise Refused("E_INVALID", f"DPUB timeout {delay_ms} out of range 0-{limits.REQUEUE_DELAY_MAX_MS}")
    body, end = _message(chunk, start, "DPUB")
    return PublishMessages("DPUB", topic, [body], delay_ms), end


def _parse_rdy(params: list[bytes], chunk: bytes, start: int) -> tuple[Command, int]:
    count = _base10(params[1], "RDY could not parse count") if len(params) > 1 else 1
    if count > limits.READY_COUNT_MAX:
        raise Refused("E_INVALID", f"RDY count {count} out of range 0-{limits.READY_COUNT_MAX}")
    return SetReady(count), start


def _parse_fin(params: list[bytes], chunk: bytes, start: int) -> tuple[Command, int]:
    _demand(params, 2, "FIN insufficient number of params")
    return FinishMessages([_id(params)]), start


def _parse_req(params: list[bytes], chunk: bytes, start: int) -> tuple[Command, int]:
    _demand(params, 3, "REQ insufficient number of params")
    id = _id(params)
    delay_ms = _base10(params[2], "REQ could not parse timeout")
    return RequeueMessage(id, min(delay_ms, limits.REQUEUE_DELAY_MAX_MS)), start


def _parse_touch(params: list[bytes], chunk: bytes, start: int) -> tuple[Command, int]:
    _demand(params, 2, "TOUCH insufficient number of params")
    return TouchMessage(_id(params)), start


_Parser = Callable[[list[bytes], bytes, int], tuple[Command, int]]
_PARSERS: dict[bytes, _Parser] = {
    b"IDENTIFY": _parse_identify,
    b"AUTH": _parse_auth,
    b"SUB": _parse_sub,
    b"PUB": _parse_pub,
    b"MPUB": _parse_mpub,
    b"DPUB": _parse_dpub,
    b"RDY": _parse_rdy,
    b"FIN": _parse_fin,
    b"REQ": _parse_req,
    b"TOUCH": _parse_touch,
    b"CLS": lambda params, chunk, start: (StartClose(), start),
    b"NOP": lambda params, chunk, start: (Nothing(), start),
}


def _demand(params: list[bytes], count: int, text: str) -> None:
    if len(params) < count:
        raise Refused("E_INVALID", text)


def _topic(params: list[bytes], verb: str) -> str:
    if not is_valid_name(params[1]):
        raise Refused("E_BAD_TOPIC", f"{verb} topic name {quoted(params[1])} is not valid")
    return params[1].decode()


def _id(params: list[bytes]) -> bytes:
    if len(params[1]) != ID_LENGTH:
        raise Refused("E_INVALID", "invalid message ID")
    return params[1]


def _base10(digits: bytes, refusal: str) -> int:
    """The number, as in nsqd's ByteToBase10 (internal/protocol): only digits, and an empty text is 0."""
    if digits.strip(b"0123456789"):
        raise Refused("E_INVALID", f"{refusal} {_text(digits)}")
    significant = digits.lstrip(b"0")
    if len(significant) > 19:  # beyond any 64-bit number, and beyond any limit
        return 1 << 64
    return int(significant or b"0")


def _message(chunk: bytes, start: int, verb: str) -> tuple[bytes, int]:
    return _body(chunk, start, verb, "E_BAD_MESSAGE", "message", limits.MESSAGE_SIZE_MAX)


def _body(chunk: bytes, start: int, verb: str, code: str, what: str, size_max: int) -> tuple[bytes, int]:
    """The sized body at `start`, and where it ends. Checks the size before it waits for the body."""
    body_start = start + 4
    if body_start > len(chunk):
        raise _Incomplete(body_start)
    (size,) = _SIZE.unpack_from(chunk, start)
    if size <= 0:
        invalid = "message body" if what == "message" else "body"
        raise Refused(code, f"{verb} invalid {invalid} size {size}")
    if size > size_max:
        raise Refused(code, f"{verb} {what} too big {size} > {size_max}")
    end = body_start + size
    if end > len(chunk):
        raise _Incomplete(end)
    return chunk[body_start:end], end


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
