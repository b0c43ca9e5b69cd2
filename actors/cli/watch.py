"""`status --watch`: the operator's page in the terminal, until q or Ctrl-C.

A thread asks the service, so that keys and a new size of the terminal are answered even while it hangs. Where
the page can't be drawn again in its place (a pipe, NO_COLOR), the status is printed now and then.
"""

import contextlib
import os
import queue
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self, TypeAlias

from rich.live import Live
from rich.text import Text

from ..supervision.printable import printable
from ..system.exits import EXIT_DONE, Failure
from .page import Page
from .rates import Rates
from .status_page import show_status
from .watch_page import Seen, watch_page

INTERVAL_S = 1.0
PLAIN_INTERVAL_S = 5.0
QUITS = b"qQ"
WATCHED = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
Ask: TypeAlias = Callable[[], dict[str, Any]]
AskHistory: TypeAlias = Callable[[], dict[str, Any] | None]


def watch(ask: Ask, ask_history: AskHistory = lambda: None) -> int:
    """Show the status until q or Ctrl-C. Returns the exit code.

    `ask` returns a status, or raises `Failure`. `ask_history` returns the answer of GET /history; None if the
    service has none.
    """
    page = Page()
    try:
        if page.redraws:
            _draw(page, _Asker(ask, ask_history))
        else:
            _print(page, ask)
    except KeyboardInterrupt:
        pass
    return EXIT_DONE


def _print(page: Page, ask: Ask) -> None:
    while True:
        try:
            show_status(ask())
        except Failure as failure:
            page.print(Text(f"{printable(str(failure))}\ntrying again until Ctrl-C"))
        page.print()
        sys.stdout.flush()
        time.sleep(PLAIN_INTERVAL_S)


class _Answer(NamedTuple):
    """What came of a question. `failure`: why there is no status; `error`: a bug."""

    at_s: float
    status: dict[str, Any] | None = None
    history: dict[str, Any] | None = None
    failure: str = ""
    error: BaseException | None = None


class _Asker:
    """Asks once a second, in a thread, and wakes up who waits for the answer on the descriptor `wakes`."""

    def __init__(self, ask: Ask, ask_history: AskHistory):
        self._ask, self._ask_history = ask, ask_history
        self._answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self._seen = Seen(None, 0.0, "", Rates())
        self.wakes, self._waker = os.pipe()

    def start(self) -> None:
        """Begin to ask, until the process ends."""
        threading.Thread(target=self._run, name="ask", daemon=True).start()

    def seen(self) -> Seen:
        """What is known now. Raises what a bug raised in the thread."""
        while not self._answers.empty():
            self._take(self._answers.get())
        return self._seen

    def _take(self, answer: _Answer) -> None:
        if answer.error is not None:
            raise answer.error
        rates = self._seen.rates
        if answer.history is not None:
            rates.told(answer.history)
        if answer.status is None:
            rates.interrupted()
            self._seen = self._seen._replace(failure=answer.failure)
        else:
            plays, publishes = answer.status["plays"]["counted"], answer.status["publishes"]["total"]
            rates.note(answer.at_s, plays, publishes)
            self._seen = Seen(answer.status, answer.at_s, "", rates)

    def _run(self) -> None:
        history = None
        try:
            while True:
                try:
                    status = self._ask()
                    first = history is None
                    history = (self._ask_history() or {}) if first else {}
                    self._answers.put(_Answer(time.time(), status, history or None))
                except Failure as failure:
                    self._answers.put(_Answer(time.time(), failure=str(failure)))
                os.write(self._waker, b".")
                time.sleep(INTERVAL_S)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self._answers.put(_Answer(time.time(), error=error))
            os.write(self._waker, b".")


def _draw(page: Page, asker: _Asker) -> None:
    with _Keys() as keys, _signals() as signals:
        asker.start()
        live = Live(
            console=page, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        with live:
            while True:
                live.update(watch_page(asker.seen(), time.time(), page), refresh=True)
                sources = [asker.wakes, signals, *([] if keys.descriptor is None else [keys.descriptor])]
                for one in select.select(sources, [], [], INTERVAL_S)[0]:
                    read = os.read(one, 1024)
                    if one == keys.descriptor and (not read or any(key in QUITS for key in read)):
                        return
                    if one == signals and signal.SIGTSTP in read:
                        _halt(live, keys)


def _halt(live: Live, keys: "_Keys") -> None:
    """Do what Ctrl-Z asks for, with the terminal as it was; go on after `fg`."""
    live.stop()
    keys.stop()
    os.kill(os.getpid(), signal.SIGSTOP)
    keys.start()
    live.start()


class _Keys:
    """Has each key when it is pressed. `descriptor`: has them; None if stdin is no terminal."""

    def __init__(self) -> None:
        is_terminal = sys.stdin is not None and os.isatty(sys.stdin.fileno())
        self.descriptor = sys.stdin.fileno() if is_terminal else None
        self._before = [] if self.descriptor is None else termios.tcgetattr(self.descriptor)

    def start(self) -> None:
        """Have keys without a newline after them. Ctrl-C and Ctrl-Z stay signals."""
        if self.descriptor is not None:
            tty.setcbreak(self.descriptor)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self.descriptor is not None:
            termios.tcsetattr(self.descriptor, termios.TCSADRAIN, self._before)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """A descriptor with the numbers of signals: a new size of the terminal, Ctrl-Z, and going on after it."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    before_fd = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    before = {one: signal.signal(one, _noted) for one in WATCHED}
    try:
        yield reads
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        os.close(reads)
        os.close(writes)


def _noted(number: int, frame: object) -> None:
    """The wakeup descriptor has it."""
