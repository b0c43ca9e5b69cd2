"""stdout or stderr, for people to read: plain in a pipe, where NO_COLOR is set, and on a dumb terminal."""

import sys
from collections.abc import Iterable
from typing import IO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ..supervision.printable import PrintableText, printable
from ..supervision.standard_streams import wants_plain
from .plain_page import PIPE_COLUMNS


class Page(Console):
    """stdout or stderr, for rich. A broken pipe raises, as the command line handles it for every command."""

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        file = stream.styled if isinstance(stream, PrintableText) else None
        super().__init__(
            highlight=False,
            markup=False,  # a text may come from outside
            emoji=False,
            stderr=stderr,
            file=cast("IO[str] | None", file),
            color_system=None if wants_plain() else "auto",  # without one, nothing is bold either
        )
        if not self.is_terminal:
            self.width = PIPE_COLUMNS

    @property
    def redraws(self) -> bool:
        """Whether what is shown may be drawn again in its place: on a terminal that may be steered."""
        return self.is_terminal and not wants_plain()

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render what is printed, with its text escaped: see `printable.py`. Called by rich."""
        for one in super().render(renderable, options):
            yield one if one.control else Segment(printable(one.text, kept="\n"), one.style)

    def on_broken_pipe(self) -> None:
        """Raise. rich calls this when it has caught a `BrokenPipeError`."""
        raise BrokenPipeError
