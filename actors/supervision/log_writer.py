"""The log of a process, on stderr. Logging never blocks work: only a thread of its own waits for stderr.

A line that can't be written is dropped and counted. When stderr can be written again, one line says how many
lines were dropped. All processes of a program share one stderr, so it is never made non-blocking: the parent
shell and its other programs would see that too.
"""

import io
import logging
import os
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from .printable import Lines, PrintableText

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

log = logging.getLogger(__name__)

STDERR = 2
WAITING_BYTES_MAX = 65_536  # of lines that wait to be written; further lines are dropped
PIECE_BYTES_MAX = select.PIPE_BUF  # a pipe takes this many bytes as a whole, also if others write to it
WAIT_S = 0.02  # the caller waits this long for its line, so that a SIGKILL loses at most the last one
RETRY_S = 1.0
FLUSH_S = 1.0


class LogWriter:
    """Writes lines to a descriptor in their order, from a thread that starts with the first line."""

    def __init__(self, notice: Callable[[int], bytes], descriptor: int = STDERR):
        """`notice` returns the line that says how many lines were dropped."""
        self.dropped = 0  # lines, since the process started
        self._notice = notice
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._busy_since_s: float | None = None  # when the thread began to write what it writes now
        self._missing = 0  # lines that were dropped since the last notice
        self._overflow = False  # lines are dropped until all that wait are written
        self._late = False  # nobody waits for the thread until all that wait are written
        self._failing = False  # the last write failed
        self._torn = False  # it failed within a line

    def write(self, line: bytes) -> None:
        """Write a line, which ends with a newline. Returns after at most `WAIT_S` seconds."""
        with self._changed:
            full = self._waiting_bytes + len(line) > WAITING_BYTES_MAX
            self._overflow = self._overflow or (full and bool(self._waiting))
            if self._overflow or not self._has_thread():
                self._drop()
                return
            self._waiting.append(line)
            self._waiting_bytes += len(line)
            self._changed.notify_all()
            if not self._late:
                self._late = not self._changed.wait_for(self._is_idle, WAIT_S)

    def flush(self) -> None:
        """Wait up to `FLUSH_S` seconds until all lines are written, less if a write hangs already."""
        with self._changed:
            now_s = time.monotonic()
            since_s = now_s if self._busy_since_s is None else self._busy_since_s
            self._changed.wait_for(self._is_idle, max(0.0, since_s + FLUSH_S - now_s))

    def _has_thread(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="log", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # there can be no more threads, or Python is about to end
                return False
            self._thread = thread
        return True

    def _is_idle(self) -> bool:
        told = self._failing or not self._missing
        return told and not self._waiting and self._busy_since_s is None

    def _drop(self) -> None:
        self.dropped += 1
        self._missing += 1

    # In the thread

    def _run(self) -> None:
        # Signals are for the main thread. With SIGTTOU blocked, a terminal can't stop the whole process.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            missing, line = self._next()
            told = not missing or self._put(self._notice(missing))
            written = told and self._put(line)
            with self._changed:
                if told:
                    self._missing -= missing
                if line and not written:
                    self._drop()

    def _next(self) -> tuple[int, bytes]:
        """Wait for what to write next: how many lines are missing before a line, and the line, or b""."""
        with self._changed:
            self._busy_since_s = None
            if not self._waiting:
                self._overflow = self._late = False
            self._changed.notify_all()
            pause_s = RETRY_S if self._failing else 0.0
            self._changed.wait_for(lambda: self._waiting, pause_s if self._missing else None)
            self._busy_since_s = time.monotonic()
            line = self._waiting.popleft() if self._waiting else b""
            self._waiting_bytes -= len(line)
            return 0 if self._overflow else self._missing, line

    def _put(self, lines: bytes) -> bool:
        """Write lines to the descriptor, however long it takes. Returns whether that was possible."""
        for piece in _pieces(lines):
            rest = b"\n" + piece if self._torn else piece
            size = len(rest)
            try:
                while rest:
                    rest = self._put_some(rest)
            except OSError:
                self._torn = self._torn or len(rest) < size
                self._failing = True
                return False
            self._torn = self._failing = False
        return True

    def _put_some(self, rest: bytes) -> bytes:
        """Write what the descriptor takes at once. Returns what is left."""
        try:
            return rest[os.write(self._descriptor, rest) :]
        except BlockingIOError:  # another program that shares it made it non-blocking
            select.select([], [self._descriptor], [])
            return rest


def _pieces(lines: bytes) -> list[bytes]:
    """Cut between lines, so that a pipe takes each piece as a whole. A single longer line is not cut."""
    pieces, piece = [], b""
    for line in lines.splitlines(keepends=True):
        if piece and len(piece) + len(line) > PIECE_BYTES_MAX:
            pieces.append(piece)
            piece = b""
        piece += line
    return [*pieces, piece] if piece else pieces


class LogHandler(logging.Handler):
    """Hands each record to a `LogWriter`."""

    def __init__(self, formatter: logging.Formatter, encoding: str = "utf-8", descriptor: int = STDERR):
        super().__init__()
        self.setFormatter(formatter)
        self.encoding = encoding
        self.writer = LogWriter(self._notice, descriptor)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. Called by logging."""
        try:
            self.writer.write(self._line(record))
        except Exception:  # noqa: BLE001 - as every handler does: a record that is wrong must not stop the work
            self.handleError(record)

    def flush(self) -> None:
        """Wait for the lines, for a limited time. logging calls this when Python ends."""
        self.writer.flush()

    def note(self, text: str, level: int = logging.WARNING, name: str = __name__) -> None:
        """Write a line that no call of logging made. `name`: of its logger."""
        self.writer.write(self._line(_record(text, level, name)))

    def _notice(self, dropped: int) -> bytes:
        lines = "1 log line was" if dropped == 1 else f"{dropped} log lines were"
        return self._line(
            _record(f"{lines} dropped, because stderr could not be written", logging.WARNING, __name__)
        )

    def _line(self, record: logging.LogRecord) -> bytes:
        return (self.format(record) + "\n").encode(self.encoding, "backslashreplace")


def _record(text: str, level: int, name: str) -> logging.LogRecord:
    facts = {"name": name, "levelno": level, "levelname": logging.getLevelName(level)}
    return logging.makeLogRecord({**facts, "msg": "%s", "args": (Lines(text),)})


class LogFile(io.RawIOBase):
    """The file under `sys.stderr`: what Python itself writes there is a line of the log too."""

    name = "<stderr>"

    def __init__(self, handler: LogHandler):
        self._handler = handler

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write what is one event, however many lines it has."""
        written = bytes(data)
        if text := written.decode(self._handler.encoding, "backslashreplace").strip("\n"):
            self._handler.note(text, name="stderr")
        return len(written)

    def fileno(self) -> int:
        """Return the descriptor of stderr."""
        return STDERR

    def isatty(self) -> bool:
        """Whether stderr is a terminal."""
        return os.isatty(STDERR)

    def writable(self) -> bool:
        """Return True."""
        return True


def install(formatter: logging.Formatter, level: str) -> None:
    """Make this the log of the process. What is written to `sys.stderr` goes to the log too.

    An exception that no code catches, and a warning of Python, is one event each.
    """
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    handler = LogHandler(formatter, encoding)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(True)
    sys.stderr = PrintableText(LogFile(handler), encoding, "backslashreplace", line_buffering=True)
    sys.excepthook = lambda *exc_info: log.critical("stopped by an uncaught exception", exc_info=exc_info)
    threading.excepthook = _thread_failed
    sys.unraisablehook = _not_raised


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        name = "a thread" if args.thread is None else f"thread {args.thread.name}"
        exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
        log.error("%s ended by an uncaught exception", name, exc_info=exc_info)


def _not_raised(args: "sys.UnraisableHookArgs") -> None:
    if args.exc_value is not None:
        exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
        log.error("%s: %r", args.err_msg or "an exception was ignored in", args.object, exc_info=exc_info)


def flush() -> None:
    """Wait up to `FLUSH_S` seconds until the log is written."""
    sys.stderr.flush()
    for handler in logging.getLogger().handlers:
        handler.flush()


def lines_dropped() -> int:
    """Return how many lines of this process's log were dropped."""
    handlers = logging.getLogger().handlers
    return sum(handler.writer.dropped for handler in handlers if isinstance(handler, LogHandler))
