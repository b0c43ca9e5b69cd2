"""Publishes as lines of JSON on stdout: alone, or as a mirror of another sink."""

import asyncio
import contextlib
import logging
import os
import select
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ..core.dispatcher.attempts import Outcome
from ..core.dispatcher.outbox import Batch, payload_json
from ..core.words import counted
from ..system.logs import of_batch
from ..system.reasons import reason_of
from .delivery import Delivery, Sink

log = logging.getLogger(__name__)

STDOUT = 1
HAS_NO_WAIT = hasattr(os, "RWF_NOWAIT")
STDOUT_PATIENCE_S = 0.5  # a line that waits longer means that nobody reads
FILE_BYTES_MAX = 256 * 1024 * 1024  # of a file that stdout is; a mirror lets it grow no further
STDOUT_LINES_MAX = 1000  # lines that wait for a reader; what comes on top is left out


def is_wanted(descriptor: int = STDOUT) -> bool:
    """Whether a mirror of the publishes may go there: not between the lines of the log on a terminal."""
    return not os.isatty(descriptor)


class StdoutWriter:
    """Writes lines to stdout: at once, or in a thread. A reader that stops must not stop the event loop."""

    def __init__(self, descriptor: int = STDOUT):
        self._waiting: set[asyncio.Future[str]] = set()
        self._descriptor = descriptor
        self._thread = ThreadPoolExecutor(1, "stdout")
        self._is_file = False
        self._torn = False
        with contextlib.suppress(OSError):
            self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)

    @property
    def lines_waiting(self) -> int:
        """The number of lines that were not written yet."""
        return len(self._waiting)

    @property
    def file_is_full(self) -> bool:
        """Whether stdout is a file of `FILE_BYTES_MAX` bytes or more. A pipe's reader bounds it by itself."""
        return self._is_file and os.fstat(self._descriptor).st_size >= FILE_BYTES_MAX

    async def flush(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` seconds until all lines are written, and log how many are lost then."""
        if not self._waiting:
            return
        _, left = await asyncio.wait(self._waiting, timeout=timeout_s)
        if left:
            lost = counted(len(left), "line is", "lines are")
            log.warning("nobody read stdout within %.1f s: %s lost there", timeout_s, lost)

    def write(self, batch: Batch) -> "asyncio.Future[str] | None":
        """Write a batch as one line of JSON: at once (None), or later.

        The result is then "" once it is written, else why it can't be.
        """
        # Spaces for readers, as ever. No text of a publish has a comma or a colon.
        line = payload_json(batch).replace(b":", b": ").replace(b",", b", ") + b"\n"
        begun = 0 if self._waiting or self._torn else self._put_at_once(line)
        if begun == len(line):
            return None
        written = asyncio.get_running_loop().run_in_executor(self._thread, self._put, line[begun:], begun)
        self._waiting.add(written)
        written.add_done_callback(self._waiting.discard)
        return written

    def _put_at_once(self, line: bytes) -> int:
        """Write what can be written without waiting. Returns how much that was; 0 for any trouble."""
        # A pipe takes up to PIPE_BUF bytes (4096 on Linux) as a whole or not at all, so a kill does not tear
        # a line.
        try:
            if self._is_file:
                return os.write(self._descriptor, line)
            return os.pwritev(self._descriptor, [line], -1, os.RWF_NOWAIT) if HAS_NO_WAIT else 0
        except OSError:
            return 0  # the thread waits, or finds the same error

    def _put(self, line: bytes, begun: int) -> str:
        """Write the rest of a line, of which so many bytes are written. Returns "", or why it can't be."""
        # A line that an error has torn is ended first.
        rest = b"\n" + line if self._torn else line
        size = begun + len(rest)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:  # another process that shares it made it non-blocking
                    select.select([], [self._descriptor], [])
        except (OSError, ValueError) as error:
            self._torn = self._torn or len(rest) < size
            return reason_of(error)
        self._torn = False
        return ""


class StdoutSink(Sink):
    """Publishes a batch as one line of JSON on stdout, and waits for the reader."""

    name = receiver = "stdout"

    def __init__(self, descriptor: int = STDOUT):
        self._writer = StdoutWriter(descriptor)
        self._stalled = False

    async def deliver(self, batch: Batch, held_up_ms: int = 0) -> Delivery:
        """Write the line, after those before it. The batch is accepted once it is written, however long that
        takes.
        """
        written = self._writer.write(batch)
        if written is not None:
            await asyncio.wait({written}, timeout=STDOUT_PATIENCE_S)
        if written is not None and not written.done():
            if not self._stalled:
                self._stalled = True
                of_batch(log, batch.key).warning(
                    "nobody reads stdout: publishing waits until somebody does; nothing is lost"
                )
            await asyncio.wait({written})
        if self._stalled and not self._writer.lines_waiting:
            self._stalled = False
            of_batch(log, batch.key).info("stdout is read again")
        if written is not None and (why := written.result()):
            return Delivery(Outcome.UNKNOWN, f"stdout can't be written ({why})")
        return Delivery(Outcome.ACCEPTED, status="written")


class MirroredSink(Sink):
    """Another sink, and a mirror of the accepted batches on stdout, as far as that is read."""

    def __init__(self, sink: Sink, descriptor: int = STDOUT):
        self.name, self.receiver = sink.name, sink.receiver
        self.settings, self.takes_several = sink.settings, sink.takes_several
        self._sink = sink
        self._writer = StdoutWriter(descriptor)
        self._looks: set[asyncio.Task[None]] = set()
        self._mirrors = True
        self._stalled = False
        self._left_out = 0
        self._file_is_full = False

    async def deliver(self, batch: Batch, held_up_ms: int = 0) -> Delivery:
        """Send a batch once, and mirror it if it was accepted."""
        delivery = await self._sink.deliver(batch, held_up_ms)
        if (written := self._mirror(batch, delivery)) is not None:
            await self._look_at_reader(written)
        return delivery

    def begin(self, batch: Batch, held_up_ms: int, done: Callable[[Delivery], None]) -> bool:
        """See `Sink`."""

        def mirror(delivery: Delivery) -> None:
            written = self._mirror(batch, delivery)
            if written is None:
                done(delivery)
                return
            look = asyncio.ensure_future(self._look_at_reader(written))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)
            look.add_done_callback(lambda _: done(delivery))

        return self._sink.begin(batch, held_up_ms, mirror)

    async def reach(self) -> None:
        """Connect, and publish nothing."""
        await self._sink.reach()

    async def flush(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` seconds until all lines are written: the client has their batches."""
        await self._writer.flush(timeout_s)

    def reload(self) -> None:
        """Have the other sink read its files again."""
        self._sink.reload()

    def close(self) -> None:
        """Close the other sink."""
        self._sink.close()

    def _mirror(self, batch: Batch, delivery: Delivery) -> "asyncio.Future[str] | None":
        """Write a batch that was accepted. Returns what to wait for, so that the line is there before
        the batch counts as published.
        """
        if delivery.outcome is not Outcome.ACCEPTED or not self._mirrors:
            return None
        if self._writer.file_is_full:
            if not self._file_is_full:
                of_batch(log, batch.key).warning(
                    "stdout is a file of %d MiB: no publish is written to it until it is shorter; "
                    "publishes go on to the client (publish.stdout = false writes none)",
                    FILE_BYTES_MAX // 2**20,
                )
            self._file_is_full = True
            return None
        self._file_is_full = False
        if self._writer.lines_waiting >= STDOUT_LINES_MAX:
            if not self._left_out:
                of_batch(log, batch.key).warning(
                    "nobody reads stdout, and %d publishes wait for it: more are left out there until "
                    "somebody does; they go on to the client",
                    STDOUT_LINES_MAX,
                )
            self._left_out += 1
            return None
        written = self._writer.write(batch)
        if written is None:
            self._written("")
            return None
        written.add_done_callback(lambda done: self._written(done.result()))
        return None if self._stalled else written

    async def _look_at_reader(self, written: "asyncio.Future[str]") -> None:
        done, _ = await asyncio.wait({written}, timeout=STDOUT_PATIENCE_S)
        self._stalled = not done

    def _written(self, why: str) -> None:
        if not self._writer.lines_waiting:
            self._stalled = False
        if why and self._mirrors:
            self._mirrors = False
            log.warning("stdout can't be written (%s); publishes go on to the client only", why)
        elif self._left_out and not self._writer.lines_waiting:
            left_out = counted(self._left_out, "publish was", "publishes were")
            log.warning("stdout is read again; %s left out of it", left_out)
            self._left_out = 0
