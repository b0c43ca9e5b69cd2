"""The form of the log: one line an event, for people ("text") or for programs ("json").

Both have the time as RFC 3339 with its zone, the level, who (child id and incarnation) and the message. JSON
has what a call hands over as `extra` in fields of their own. What has several lines, such as a traceback, is
joined with " | " in text, and is a field with newlines in JSON.
"""

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from numbers import Number
from typing import Any

from . import log_writer
from .printable import printable, shown_text

JOINT = " | "  # between the lines of a text that is one line of the log
_NEWLINE = re.compile(r"\s*\n\s*")
_OF_EVERY_RECORD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class LogFormat(StrEnum):
    """The forms of the log."""

    TEXT = "text"
    JSON = "json"


def configure_log(name: str, level: str, form: str = LogFormat.TEXT) -> None:
    """Make this the log of the process. `name`: who; `level`: logging's; `form`: a `LogFormat`."""
    line = f"%(asctime)s %(levelname).1s {name:<12} %(message)s"
    formatter = JsonFormatter(name) if form == LogFormat.JSON else LineFormatter(line)
    log_writer.install(formatter, level)


def format_in_force() -> LogFormat:
    """The form of this process's log."""
    handlers = logging.getLogger().handlers
    is_json = any(isinstance(handler.formatter, JsonFormatter) for handler in handlers)
    return LogFormat.JSON if is_json else LogFormat.TEXT


def time_of(record: logging.LogRecord) -> str:
    """The time of a record, of this machine's zone: 2026-11-29T22:22:55.941+01:00.

    It is UTC if TZ names a zone that Python does not take.
    """
    try:
        time = datetime.fromtimestamp(record.created).astimezone()
    except ValueError:  # such as TZ=X24:00:01
        time = datetime.fromtimestamp(record.created, UTC)
    return time.isoformat(timespec="milliseconds")


class LineFormatter(logging.Formatter):
    """Text: one line a record. What came from outside is escaped."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """Return the time of a record. Called by logging."""
        return time_of(record)

    def format(self, record: logging.LogRecord) -> str:
        """Format a record. Called by logging."""
        shown = logging.makeLogRecord(record.__dict__)
        args = record.args
        if isinstance(args, Mapping):
            shown.args = {name: _shown(arg) for name, arg in args.items()}
        elif args:
            shown.args = tuple(map(_shown, args))
        shown.exc_text = None
        return printable(_NEWLINE.sub(JOINT, super().format(shown).strip("\n")))


class JsonFormatter(logging.Formatter):
    """JSON: one object a record, on one line, all of it ASCII."""

    def __init__(self, who: str):
        super().__init__()
        self._who = who

    def format(self, record: logging.LogRecord) -> str:
        """Format a record. Called by logging."""
        fields: dict[str, Any] = {
            "time": time_of(record),
            "level": record.levelname,
            "who": self._who,
            "message": record.getMessage(),
            "logger": record.name,
        }
        fields |= {name: value for name, value in record.__dict__.items() if name not in _OF_EVERY_RECORD}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class _Shown:
    """An argument of a record, whose text is escaped when the message is made."""

    def __init__(self, arg: object):
        self._arg = arg

    def __str__(self) -> str:
        return shown_text(str(self._arg))

    def __repr__(self) -> str:
        return printable(repr(self._arg))


def _shown(arg: object) -> object:
    return arg if isinstance(arg, Number) else _Shown(arg)
