"""Code that all benchmarks share: arguments, a folder, a table, a file of figures."""

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import to_builtins
from rich.table import Table

from actors.cli.page import Page
from tests.support.queues import QUEUES, nsqd_path

NO_NSQD = "no nsqd on PATH: `make nsqd` builds one and says where"


def parser(doc: str | None) -> argparse.ArgumentParser:
    """An argument parser for a benchmark. Its help begins with `doc`."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)


def add_json(arguments: argparse.ArgumentParser) -> None:
    """Add the option `--json`, whose value goes to `write_json`."""
    arguments.add_argument("--json", metavar="FILE", help="write the figures to FILE, too")


def write_json(file: str | None, figures: object) -> None:
    """Write figures (structs, or lists and dicts of structs) to the file, if one is given."""
    if file is not None:
        Path(file).write_text(json.dumps(to_builtins(figures), indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """An empty folder, which is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="playtally-bench-") as path:
        yield Path(path)


def show(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None, texts: int = 1
) -> None:
    """Print a table. The first `texts` columns hold text and are aligned left; the others hold figures."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < texts else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Page().print(table)


def kinds() -> list[str]:
    """The kinds of queues on this machine: the embedded one, and a real nsqd if one is on PATH."""
    if nsqd_path() is None:
        print(NO_NSQD, file=sys.stderr)
        return ["embedded"]
    return QUEUES


def need_nsqd() -> None:
    """End the command if there is no nsqd."""
    if nsqd_path() is None:
        sys.exit(NO_NSQD)
