"""Reads, checks and writes recordings of a run: publishes and plays, one JSON object per line.

Owns the two forms. Publishes: the lines that the service prints on stdout, with or without `received_at_ns`
(when the client received it) and `held_up_ms` (for how long the client had delayed it by then). Plays, in the
order in which they were counted: `{"video_id", "arrived_at_ns"}` and, if known, `received_at_ns` (when the
service received it) and `total` (the total that the play made). Plays without `total` are counted from 1.
"""

import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, BinaryIO, NamedTuple

import msgspec
from msgspec import Meta, Struct

from ..client import publishes as wire
from ..client.errors import MalformedPublish
from ..core import guids
from ..core.client.bound import Play
from ..core.client.promises import Publish
from ..system.exits import Failure

PLAY_EXPECTED = 'a play, {"video_id": "<GUID>", "arrived_at_ns": 1795502904123456789}'
_Stamp = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Received(NamedTuple):
    """One recorded publish. `received_at_ns`: None if the line does not have it.

    `held_up_ms`: for how long the client had delayed it by then; 0 if the line does not have it.
    """

    publish: Publish
    received_at_ns: int | None
    held_up_ms: int = 0


class _Time(Struct, frozen=True):
    received_at_ns: _Stamp | None = None
    held_up_ms: Annotated[int, Meta(ge=0, le=10**15)] = 0


class _PlayLine(Struct, frozen=True, forbid_unknown_fields=True):
    video_id: str
    arrived_at_ns: _Stamp
    received_at_ns: _Stamp | None = None
    total: Annotated[int, Meta(ge=1, le=wire.PLAYS_MAX)] | None = None


def read_plays(path: str) -> list[Play]:
    """Read recorded plays from a file. Raises `Failure` that names the file or the wrong line."""
    decoder = msgspec.json.Decoder(_PlayLine)
    counted: Counter[str] = Counter()
    found: list[Play] = []
    with _opened(path) as stream:
        for number, line in _lines(stream):
            try:
                one = decoder.decode(line)
                video = guids.text(guids.parse(one.video_id))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
                raise _wrong(path, number, str(error), PLAY_EXPECTED) from None
            counted[video] = counted[video] + 1 if one.total is None else one.total
            received = one.arrived_at_ns if one.received_at_ns is None else one.received_at_ns
            found.append(Play(video, one.arrived_at_ns, received, counted[video]))
    return found


def read_publish_lines(stream: Iterable[bytes], name: str) -> Iterator[tuple[bytes, Received]]:
    """Yield recorded publishes with their lines, as they come. Raises `Failure` that names the wrong line."""
    decoder = msgspec.json.Decoder(_Time)
    for number, line in _lines(stream):
        try:
            publish = wire.parse(line, content_type="application/json", idempotency_key=None)
            times = decoder.decode(line)
        except (MalformedPublish, msgspec.MsgspecError) as error:
            raise _wrong(name, number, str(error), "a publish as the service prints it") from None
        yield line, Received(publish, times.received_at_ns, times.held_up_ms)


def read_publishes(path: str, record: str | None) -> list[Received]:
    """Read all publishes of a file, or of stdin ("-").

    `record`: a new file that gets each line with the time when it came; Ctrl-C then ends the reading. Raises
    `Failure` that names a wrong line, or the file.
    """
    found: list[Received] = []
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(_opened(path))
        copy = stack.enter_context(_created(record)) if record is not None else None
        try:
            for line, one in read_publish_lines(stream, "stdin" if path == "-" else path):
                if copy is None:
                    found.append(one)
                    continue
                received_at_ns = time.time_ns()
                fields = json.loads(line) | {"received_at_ns": received_at_ns}
                copy.write(json.dumps(fields).encode() + b"\n")
                found.append(one._replace(received_at_ns=received_at_ns))
        except KeyboardInterrupt:
            if copy is None:
                raise
    if not found:
        raise Failure(f"{path}: no publishes in it, expected JSON lines as the service prints them on stdout")
    return found


def _opened(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if path == "-":
        return contextlib.nullcontext(sys.stdin.buffer)
    try:
        return open(path, "rb")
    except OSError as error:
        found = f"{path}: cannot be read ({error.strerror}), expected a file of JSON lines"
        raise Failure(found) from error


def _created(path: str) -> BinaryIO:
    try:
        # Unbuffered: recorded lines are in the file however this process ends.
        return open(path, "xb", buffering=0)
    except OSError as error:
        found = f"{path}: cannot be made ({error.strerror}), expected a new file to record to"
        raise Failure(found) from error


def _lines(stream: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in enumerate(stream, 1) if line.strip())


def _wrong(name: str, number: int, problem: str, expected: str) -> Failure:
    return Failure(f"{name}, line {number}: {problem}; expected {expected}")
