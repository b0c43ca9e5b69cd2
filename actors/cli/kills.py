"""Kills of children from outside, as any user can, and how soon each child worked again."""

import contextlib
import signal
import statistics
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
from rich.table import Table

from ..supervision.pids import send_signal
from ..system.exits import Failure
from .launch import Service, wait_for
from .page import Page
from .tables import fits, in_lines

BACK_TIMEOUT_S = 30.0
RESUME_TIMEOUT_S = 2.0  # a child that has nothing to do does not say that it works again


class Kill(msgspec.Struct, frozen=True):
    """One kill: the child, its pid, and the times in ms until it was linked and until it worked again."""

    child: str
    pid: int
    came_back_ms: float
    resumed_ms: float | None


def kill(service: Service, child_id: str) -> Kill:
    """Kill a child, and wait until its next incarnation works."""
    before = wait_for(lambda: _running(service, child_id, 0), f"{child_id} to run", BACK_TIMEOUT_S)
    send_signal(before["pid"], signal.SIGKILL)
    after = wait_for(
        lambda: _running(service, child_id, before["incarnation"]),
        f"{child_id} to come back",
        BACK_TIMEOUT_S,
        service.log,
    )
    try:
        after = wait_for(lambda: _resumed(service, child_id), f"{child_id} to work", RESUME_TIMEOUT_S)
    except Failure:
        pass  # it had nothing to do: a counter without a play, a dispatcher without a batch
    return Kill(child_id, before["pid"], after["came_back_ms"] or 0.0, after["resumed_ms"])


def _running(service: Service, child_id: str, incarnation: int) -> dict[str, Any] | None:
    child = service.child(child_id)
    return child if child["state"] == "running" and child["incarnation"] > incarnation else None


def _resumed(service: Service, child_id: str) -> dict[str, Any] | None:
    child = service.child(child_id)
    return child if child["resumed_ms"] is not None else None


def line(number: int, kills: int, kill: Kill) -> str:
    """One kill of so many, for the screen."""
    works = f", works after {kill.resumed_ms:4.0f} ms" if kill.resumed_ms is not None else ""
    return f"{number:>4}/{kills}  killed {kill.child:<11} linked after {kill.came_back_ms:4.0f} ms{works}"


@contextlib.contextmanager
def ended_by_ctrl_c(console: Page) -> Iterator[threading.Event]:
    """Within this, the first Ctrl-C sets the event and no more, so that a kill is finished and told.

    The second one raises `KeyboardInterrupt`. If Ctrl-C is ignored, it stays so.
    """
    ended, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def interrupt(*_: object) -> None:
        if ended.is_set():
            raise KeyboardInterrupt
        ended.set()

    if before is signal.SIG_IGN:
        yield ended
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield ended
    finally:
        signal.signal(signal.SIGINT, before)
    if ended.is_set():
        console.print("interrupted: proving the result so far; Ctrl-C again ends at once")


def show_table(kills: list[Kill], page: Page) -> None:
    """Print how soon each child worked again."""
    page.print("from its kill until a child worked again:")
    table = _table(kills)
    page.print(table if fits(table, page) else in_lines(table))


def _table(kills: list[Kill]) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("child", "kills", "median", "95 %", "slowest"):
        shown.add_column(name, justify="left" if name == "child" else "right")
    for name in [*dict.fromkeys(kill.child for kill in kills), "all"]:
        chosen = [kill for kill in kills if name in (kill.child, "all")]
        times = sorted(kill.resumed_ms for kill in chosen if kill.resumed_ms is not None)
        row = [f"{_quantile(times, share):.0f} ms" if times else "" for share in (0.5, 0.95, 1.0)]
        shown.add_row(name, str(len(chosen)), *row)
    return shown


def _quantile(times: list[float], share: float) -> float:
    if share == 0.5:
        return statistics.median(times)
    return times[min(len(times) - 1, int(share * len(times)))]
