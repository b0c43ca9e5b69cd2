"""`status --watch` on a terminal: it draws in place, obeys keys, and leaves the terminal as it was."""

import contextlib
import fcntl
import os
import re
import signal
import struct
import termios
from collections.abc import Iterator

import psutil
import pytest

from actors.cli.launch import Service
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.services import ANY_PORTS, open_service, wait_caught_up
from tests.support.terminals import on_a_terminal, read_terminal

PLAY = b'{"video_id": "00000000-0000-4000-8000-000000000001"}'
HOME, BEGINS, ENDS = "\x1b[H", "\x1b[?1049h", "\x1b[?1049l"
TYPING = termios.ICANON | termios.ECHO  # what is typed is seen, and taken line by line
COLOURED = {"NO_COLOR": ""}


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    with open_service("embedded", tmp_path_factory.mktemp("service")) as service:
        service.start()
        service.queue.put("plays", *[PLAY] * 3)
        wait_caught_up(service, 3)
        yield service


def set_size(terminal: int, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextlib.contextmanager
def watching(service: Service, columns: int = 80, **variables: str):
    """The process, and our end of its terminal."""
    process, ours = on_a_terminal(
        "status", "--watch", *service.arguments, columns=columns, variables=COLOURED | variables
    )
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def frames(text: str) -> list[list[str]]:
    """The lines of each drawing, without what steers the terminal."""
    drawn = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", one).replace("\r", "") for one in text.split(HOME)[1:]]
    return [one.split("\n") for one in drawn]


def has(text: str, *parts: str) -> bool:
    """Whether the last whole drawing has all parts."""
    whole = frames(text)[:-1]
    return bool(whole) and all(part in "\n".join(whole[-1]) for part in parts)


@pytest.mark.parametrize("key", ["q", "Q", "ctrl-c"])
def test_it_shows_the_service_until_q_or_ctrl_c_and_leaves_the_terminal_as_it_was(key, service):
    with watching(service, 60) as (process, ours):
        shown = read_terminal(
            ours, lambda text: has(text, "caught up", "counter-1", "plays         3 of 1 video")
        )
        assert shown.startswith(BEGINS)
        assert "\x1b[2J" not in shown, "nothing is cleared, so that nothing flickers"
        assert max(len(line) for line in frames(shown)[0]) <= 60
        assert not termios.tcgetattr(ours)[3] & TYPING
        if key == "ctrl-c":
            os.killpg(process.pid, signal.SIGINT)  # as a shell's terminal does
        else:
            os.write(ours, key.encode())
        rest = read_terminal(ours)
        assert process.wait(PATIENCE_S) == 0
        assert ENDS in rest and "Traceback" not in rest
        assert termios.tcgetattr(ours)[3] & TYPING == TYPING


def test_a_new_size_of_the_terminal_is_a_new_page(service):
    with watching(service, 120) as (process, ours):
        read_terminal(ours, lambda text: has(text, "mailbox"))
        set_size(ours, 60, 20)
        process.send_signal(signal.SIGWINCH)
        shown = read_terminal(
            ours, lambda text: has(text, "consumer", "q quits") and not has(text, "mailbox")
        )
        last = frames(shown)[-2]
        assert max(map(len, last)) <= 60 and len(last) <= 20
        assert "q quits" in last[0]


def test_ctrl_z_gives_the_terminal_back_and_it_goes_on_after_it(service):
    with watching(service) as (process, ours):
        read_terminal(ours, lambda text: has(text, "caught up"))
        process.send_signal(signal.SIGTSTP)
        read_terminal(ours, lambda text: ENDS in text)
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, "it to be halted")
        assert termios.tcgetattr(ours)[3] & TYPING == TYPING
        process.send_signal(signal.SIGCONT)
        read_terminal(ours, lambda text: BEGINS in text and has(text, "caught up"))
        assert not termios.tcgetattr(ours)[3] & TYPING
        os.write(ours, b"q")
        read_terminal(ours)
        assert process.wait(PATIENCE_S) == 0


def test_it_goes_on_while_the_service_is_away_and_when_it_is_back(tmp_path):
    service = Service(tmp_path / "state", ANY_PORTS)
    with watching(service) as (process, ours):
        read_terminal(ours, lambda text: has(text, "trying again", "no service runs on"))
        try:
            service.start()
            read_terminal(ours, lambda text: has(text, "caught up: every play published", "consumer"))
            service.kill()
            read_terminal(ours, lambda text: has(text, "trying again; below is what it said", "consumer"))
            service.start()
            read_terminal(ours, lambda text: has(text, "caught up: every play published"))
        finally:
            service.end()
        os.write(ours, b"q")
        read_terminal(ours)
        assert process.wait(PATIENCE_S) == 0


def test_q_quits_at_once_though_the_service_hangs(service):
    with watching(service) as (process, ours):
        read_terminal(ours, lambda text: has(text, "caught up"))
        os.kill(service.process.pid, signal.SIGSTOP)
        try:
            os.write(ours, b"q")
            read_terminal(ours)
            assert process.wait(PATIENCE_S) == 0
        finally:
            os.kill(service.process.pid, signal.SIGCONT)


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_where_nothing_may_steer_the_terminal_the_status_is_printed_again_and_again(variables, service):
    with watching(service, **variables) as (process, ours):
        shown = read_terminal(ours, lambda text: text.count("caught up: nothing in flight") >= 2)
        assert "\x1b" not in shown
        os.killpg(process.pid, signal.SIGINT)
        read_terminal(ours)
        assert process.wait(PATIENCE_S) == 0
