"""What the demo shows while it works: bars on a terminal, elsewhere some lines.

Callers pass the figures and the time.
"""

import math
from typing import Any, NamedTuple

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

from .page import Page

LINE_INTERVAL_S = 5.0  # between two lines that say that plays are still counted


class Figures(NamedTuple):
    """How far the demo is. `plays`: all that it makes. `left_s`: until the last deadline."""

    plays: int
    counted: int
    videos: int
    pending: int
    publishes: int
    left_s: float


def figures_of(status: dict[str, Any], plays: int, left_s: float) -> Figures:
    """Take the figures from a GET /status."""
    return Figures(
        plays,
        status["plays"]["counted"],
        status["videos"],
        status["pending_videos"],
        status["publishes"]["total"],
        left_s,
    )


def waits_for(now: Figures, countdown: bool = False) -> str:
    """Say what the demo waits for. `countdown`: with the seconds that are left."""
    if now.counted < now.plays:
        return "counting plays"
    if not now.pending:
        return "waiting until the last publish is recorded"
    videos = "1 video" if now.pending == 1 else f"{now.pending:,} videos"
    left = f": at most {math.ceil(now.left_s)} s more" if countdown and now.left_s > 0 else ""
    return f"waiting for the deadline of {videos}{left}"


class Bars:
    """Two bars, and below them what the demo waits for."""

    def __init__(self, plays: int, console: Page):
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console
        )
        self._counted: TaskID = self._progress.add_task("plays counted", total=plays)
        self._published: TaskID = self._progress.add_task("videos published", total=None)
        self._live = Live(self._progress, console=console)

    def __enter__(self) -> "Bars":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.update(self._progress)
        self._live.stop()

    def show(self, now: Figures, now_s: float) -> None:
        """Move the bars. `now_s` is not used: the bars are drawn at each call."""
        self._progress.update(self._counted, completed=now.counted)
        self._progress.update(self._published, total=now.videos or None, completed=now.videos - now.pending)
        text = f"{now.publishes:,} publishes so far; {waits_for(now, countdown=True)}"
        self._live.update(Group(self._progress, Text(text, style="dim")))


class PlainLines:
    """A line when the demo begins to wait for deadlines; before, one every few seconds."""

    def __init__(self, console: Page):
        self._console = console
        self._said = ""
        self._line_s: float | None = None

    def __enter__(self) -> "PlainLines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, now: Figures, now_s: float) -> None:
        """Print a line if there is something new. `now_s` is monotonic."""
        if self._line_s is None:
            self._line_s = now_s
        counting = now.counted < now.plays
        kind = "counting" if counting else "waiting" if now.pending else ""
        if not kind or (counting and now_s - self._line_s < LINE_INTERVAL_S):
            return
        if not counting and kind == self._said:
            return
        self._said, self._line_s = kind, now_s
        line = f"{now.counted:,} of {now.plays:,} plays counted, {now.publishes:,} publishes so far"
        more = "" if counting else f"; {waits_for(now, countdown=True)}"
        self._console.print(line + more, soft_wrap=True)
