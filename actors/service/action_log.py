"""Who had the service do what, from where, when, and what came of it: in the log, and in a file of the state.

Promises: an action is in the file before its answer leaves, and survives a kill -9 of the service. The file
has `BYTES_MAX` at most, and so has the older one beside it. A line that can't be read is passed over. A disk
that takes no line stops no action.
"""

import contextlib
import logging
import os
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from ..system.reasons import reason_of
from ..system.regular import check_regular, open_regular

log = logging.getLogger(__name__)

NAME = "actions.jsonl"
OLDER = "actions.jsonl.1"
BYTES_MAX = 1_000_000
SHOWN_MAX = 1000
CHARACTERS_MAX = 500  # of each text


class Action(Struct, frozen=True):
    """One action. `at`: UTC, in ISO 8601. `origin`: the IP address. `result`: "done", or why not."""

    at: str
    who: str
    origin: str = field(name="from")
    action: str
    result: str


_decoder = msgspec.json.Decoder(Action)


class ActionLog:
    """The newest actions, and the file that has them."""

    def __init__(self, state_dir: str | Path):
        """Reads nothing yet: the folder may still be another service's."""
        self._folder = Path(state_dir)
        self._actions: deque[Action] = deque(maxlen=SHOWN_MAX)
        self._is_torn = False  # whether the file ends within a line

    def load(self) -> None:
        """Read what earlier services wrote."""
        for name in (OLDER, NAME):
            text = self._text_of(name)
            self._is_torn = not text.endswith(b"\n") and text != b""
            for line in text.splitlines():
                with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                    self._actions.append(_decoder.decode(line))

    def add(self, who: str, origin: str, action: str, result: str) -> None:
        """Add an action that is over, or refused."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        one = Action(at, *(text[:CHARACTERS_MAX] for text in (who, origin, action, result)))
        self._actions.append(one)
        log.info("%s from %s: %s: %s", one.who, one.origin, one.action, one.result)
        try:
            self._write(msgspec.json.encode(one) + b"\n")
        except OSError as error:
            self._is_torn = True
            log.error("%s: cannot be written (%s): this action is only here", self._path, reason_of(error))

    def newest_first(self) -> list[dict[str, Any]]:
        """The newest actions, at most `SHOWN_MAX`, as GET /actions shows them."""
        return [msgspec.to_builtins(one) for one in reversed(self._actions)]

    @property
    def _path(self) -> Path:
        return self._folder / NAME

    def _text_of(self, name: str) -> bytes:
        path = self._folder / name
        try:
            with open_regular(path) as file:
                return file.read(BYTES_MAX)
        except FileNotFoundError:
            return b""
        except OSError as error:
            log.warning("%s: cannot be read (%s): its actions are not shown", path, reason_of(error))
            return b""

    def _write(self, line: bytes) -> None:
        if self._is_torn:
            line = b"\n" + line
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_size + len(line) > BYTES_MAX:
                self._path.replace(self._folder / OLDER)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            check_regular(os.fstat(descriptor).st_mode)
            if os.write(descriptor, line) < len(line):
                raise OSError(0, "the disk took a part of the line")
        finally:
            os.close(descriptor)
        self._is_torn = False
