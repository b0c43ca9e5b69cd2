"""What the producer shows on stderr: a progress bar on a terminal, else a plain line every 2 s.

While plays are produced, only this module writes to stderr. So lines and bar do not overwrite each
other. Callers pass the figures and the time.
"""

import os
import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from actors.supervision.printable import printable
from actors.supervision.standard_streams import wants_plain

LINE_EVERY_S = 2.0  # Without a terminal: often enough to show progress, seldom enough for a log.


def on_stderr(plays: int) -> "Bar | PlainLines":
    """A bar if stderr is a terminal that can show one, else lines. `plays`: the plays of the run."""
    live = sys.stderr.isatty() and "TERM" in os.environ and not wants_plain()
    return Bar(plays) if live else PlainLines(plays)


def speed_text(plays_per_second: float) -> str:
    """A speed for people: a whole number, or two digits if it is below 10."""
    slow = 0 < plays_per_second < 10
    return f"{plays_per_second:.2g}" if slow else f"{plays_per_second:.0f}"


class PlainLines:
    """Plain lines, at most one every `LINE_EVERY_S`."""

    def __init__(self, plays: int):
        self._plays = plays
        self._shown: tuple[float, int] | None = None

    def say(self, line: str) -> None:
        """Print a line at once."""
        print(line, file=sys.stderr, flush=True)

    def update(self, acknowledged_plays: int, now_s: float) -> None:
        """Print the progress if the last line is `LINE_EVERY_S` old. `now_s` is monotonic."""
        if self._shown is None:
            self._shown = (now_s, acknowledged_plays)
        then_s, then_plays = self._shown
        if now_s - then_s < LINE_EVERY_S:
            return
        self._shown = (now_s, acknowledged_plays)
        plays_per_second = (acknowledged_plays - then_plays) / (now_s - then_s)
        left = self._plays - acknowledged_plays
        ahead = f", {left / plays_per_second:.0f} s left" if plays_per_second else ""
        self.say(
            f"produced {acknowledged_plays} of {self._plays} plays"
            f" ({100 * acknowledged_plays / self._plays:.0f} %),"
            f" {speed_text(plays_per_second)} plays/s{ahead}"
        )

    def close(self) -> None:
        """Do nothing: lines stay as they are."""


class Bar:
    """A live bar: plays, plays a second, time left."""

    def __init__(self, plays: int):
        self._progress = Progress(
            TextColumn("producing"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} plays"),
            TextColumn("{task.fields[speed]} plays/s"),
            TimeRemainingColumn(),
            console=Console(file=getattr(sys.stderr, "styled", sys.stderr)),
            transient=True,
        )
        self._task = self._progress.add_task("producing", total=plays, speed="-")
        self._progress.start()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def update(self, acknowledged_plays: int, now_s: float) -> None:
        """Move the bar. `now_s` is not used: the bar measures time itself."""
        speed = self._progress.tasks[0].speed
        self._progress.update(self._task, completed=acknowledged_plays, speed=speed_text(speed or 0.0))

    def close(self) -> None:
        """Remove the bar from the screen. The lines above it stay."""
        self._progress.stop()
