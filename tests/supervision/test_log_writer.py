"""The log when stderr takes nothing, or fails: nobody waits, lines are counted, and none is torn."""

import contextlib
import logging
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from actors.supervision import log_writer
from actors.supervision.log_writer import PIECE_BYTES_MAX, WAITING_BYTES_MAX, LogHandler, LogWriter
from tests.support.patience import PATIENCE_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
LINE = b"x" * 99 + b"\n"
FITTING = WAITING_BYTES_MAX // len(LINE)


def notice(dropped):
    return b"%d dropped\n" % dropped


@pytest.fixture
def patient(monkeypatch):
    """A thread that a busy machine does not run for a while is waited for."""
    monkeypatch.setattr(log_writer, "FLUSH_S", PATIENCE_S)


@pytest.fixture
def pipe():
    """A pipe's two ends. It is full until it is read.

    The end that is written to stays open: a writer's thread tries it once a second until pytest ends.
    """
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writes, b"-" * 4096)
    os.set_blocking(writes, True)
    yield reads, writes
    os.close(reads)


class Reader:
    """Reads a pipe in a thread."""

    def __init__(self, descriptor):
        self.read = b""
        self._descriptor = descriptor
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with contextlib.suppress(OSError):
            while piece := os.read(self._descriptor, 65536):
                self.read += piece

    @property
    def lines(self):
        """The complete lines that are read, without what filled the pipe."""
        return [line for line in self.read.lstrip(b"-").split(b"\n")[:-1] if line]


class Disk:
    """Takes what a writer writes. It fails while it is full, after it has taken `room` bytes."""

    def __init__(self, writer):
        self.pieces, self.full, self.room = [], False, 0
        writer._put_some = self.put_some

    def put_some(self, rest):
        if self.full and not self.room:
            raise OSError(28, "No space left on device")
        taken = min(len(rest), self.room) if self.full else len(rest)
        self.pieces.append(rest[:taken])
        self.room -= taken if self.full else 0
        return rest[taken:]

    @property
    def written(self):
        return b"".join(self.pieces)


def test_lines_keep_their_order(tmp_path, patient):
    with open(tmp_path / "log", "wb") as file:
        writer = LogWriter(notice, file.fileno())
        for number in range(200):
            writer.write(b"%d\n" % number)
        writer.flush()
        assert (tmp_path / "log").read_bytes() == b"".join(b"%d\n" % number for number in range(200))
        assert writer.dropped == 0


def test_what_nobody_reads_waits_then_is_dropped_and_one_line_says_how_many(pipe):
    reads, writes = pipe
    writer = LogWriter(notice, writes)
    for _ in range(FITTING + 1000):
        writer.write(LINE)
    # One line may be with the thread, which has taken it out of those that wait.
    assert 999 <= writer.dropped <= 1000
    dropped = writer.dropped
    reader = Reader(reads)
    wait_until(lambda: reader.lines and reader.lines[-1] == b"%d dropped" % dropped, "the notice")
    assert reader.lines[:-1] == [LINE[:-1]] * (FITTING + 1000 - dropped)
    writer.write(b"again\n")
    wait_until(lambda: reader.lines[-1] == b"again", "the next line")
    assert writer.dropped == dropped


def test_a_flush_ends_though_nobody_reads(pipe):
    writer = LogWriter(notice, pipe[1])
    writer.write(LINE)
    writer.flush()
    began_s = time.monotonic()
    for _ in range(100):  # each would take a second if it waited again for the same write
        writer.flush()
    assert time.monotonic() - began_s < 50


def test_a_full_disk_costs_the_lines_of_that_time_and_a_half_line_is_ended(patient):
    writer = LogWriter(notice)
    disk = Disk(writer)
    writer.write(b"before\n")
    disk.full, disk.room = True, 4
    for _ in range(3):
        writer.write(b"while\n")
    writer.flush()
    assert writer.dropped == 3
    disk.full = False
    writer.write(b"after\n")
    writer.flush()
    assert disk.written == b"before\nwhil\n3 dropped\nafter\n"
    assert writer.dropped == 3


def test_the_notice_comes_without_another_line(patient):
    writer = LogWriter(notice)
    disk = Disk(writer)
    disk.full = True
    writer.write(b"lost\n")
    writer.flush()
    disk.full = False
    wait_until(lambda: disk.written, "the notice")
    assert disk.written == b"1 dropped\n"


@pytest.mark.parametrize("broken", ["closed", "no reader"])
def test_a_descriptor_that_is_gone_is_counted_and_raises_nothing(broken, patient):
    reads, writes = os.pipe()
    os.close(reads)
    if broken == "closed":
        os.close(writes)
        writes = 1_000_000  # a number that no other test's file can get meanwhile
    writer = LogWriter(notice, writes)
    for _ in range(3):
        writer.write(LINE)
    writer.flush()
    assert writer.dropped == 3


def test_a_pipe_that_another_program_made_non_blocking_is_waited_for(pipe):
    reads, writes = pipe
    os.set_blocking(writes, False)
    writer = LogWriter(notice, writes)
    writer.write(LINE)
    reader = Reader(reads)
    wait_until(lambda: reader.lines == [LINE[:-1]], "the line")
    assert writer.dropped == 0
    assert not os.get_blocking(writes), "the descriptor is shared: its flags are not ours"


def test_no_write_tears_a_line_that_a_pipe_takes_as_a_whole(patient):
    writer = LogWriter(notice)
    disk = Disk(writer)
    lines = b"".join(b"%d %s\n" % (number, b"y" * 100) for number in range(200))
    writer.write(lines)
    writer.flush()
    assert disk.written == lines
    assert len(disk.pieces) > 1
    assert all(len(piece) <= PIECE_BYTES_MAX and piece.endswith(b"\n") for piece in disk.pieces)


def test_the_notice_is_a_line_as_all_others(patient):
    handler = LogHandler(logging.Formatter("%(levelname).1s me %(message)s"))
    disk = Disk(handler.writer)
    for lost in (1, 2):
        disk.full = True
        for _ in range(lost):
            handler.emit(logging.makeLogRecord({"msg": "lost"}))
        handler.flush()
        disk.full = False
        handler.emit(logging.makeLogRecord({"msg": "read", "levelname": "INFO"}))
        handler.flush()
    assert disk.written.decode().splitlines() == [
        "W me 1 log line was dropped, because stderr could not be written",
        "I me read",
        "W me 2 log lines were dropped, because stderr could not be written",
        "I me read",
    ]


PROGRAM = """
import logging, os, sys, threading
from actors.supervision import log_writer
log_writer.install(logging.Formatter("%(message)s"), "INFO")
assert threading.active_count() == 1, "no thread before the first line"
"""
# A busy machine may be late: a line that can be written is waited for in these tests.
PATIENT = f"log_writer.WAIT_S = log_writer.FLUSH_S = {PATIENCE_S}\n"
ENDS = {
    "the end": "logging.info('last')",
    "an exception": "raise RuntimeError('last')",
    "an exception in a thread": "threading.Thread(target=lambda: {}['last']).start()",
    "print": "print('last', file=sys.stderr)",
    "a line without an end": "sys.stderr.write('last')",
    "os._exit": "logging.info('last'); log_writer.flush(); os._exit(0)",
    "a kill": "logging.info('last'); os.kill(os.getpid(), 9)",
}


def start(program, stderr):
    return subprocess.Popen([sys.executable, "-c", PROGRAM + program], cwd=ROOT, stderr=stderr)


@pytest.mark.parametrize("program", ENDS.values(), ids=ENDS)
def test_at_every_end_of_a_process_its_last_line_is_written(program):
    process = start(PATIENT + program, subprocess.PIPE)
    told = process.communicate(timeout=PATIENCE_S)[1].decode()
    assert re.search("^(.*Error: )?'?last'?$", told, re.MULTILINE), told


@pytest.mark.parametrize("program", ENDS.values(), ids=ENDS)
def test_a_process_ends_though_nobody_reads_its_last_line(program, pipe):
    process = start(program, pipe[1])
    try:
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
