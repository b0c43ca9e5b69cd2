"""The report of runs, as a table or as JSON."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .run import Outcome

WRONG_MAX = 20


def show(outcomes: list[Outcome]) -> None:
    """Print one column per run, and below it what was wrong."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for outcome in outcomes:
        table.add_column(outcome.queue, justify="right")
    for name in sorted({name for outcome in outcomes for name in outcome.faults}):
        table.add_row(name, *(f"{outcome.faults[name]:,}" for outcome in outcomes))
    table.add_section()
    rows = {
        "kills": "kills",
        "plays": "plays",
        "of them never acknowledged": "unanswered",
        "redeliveries recognised": "redelivered",
        "publishes": "publishes",
        "of them the same key again": "repeated",
    }
    for title, field in rows.items():
        table.add_row(title, *(f"{getattr(outcome, field):,}" for outcome in outcomes))
    for title, field in {"lost": "lost", "counted twice": "doubled", "totals missing": "untold"}.items():
        table.add_row(title, *(_verdict(getattr(outcome, field)) for outcome in outcomes))
    table.add_row("other promises broken", *(_verdict(len(outcome.wrong)) for outcome in outcomes))
    table.add_row("seconds", *(f"{outcome.seconds:.0f}" for outcome in outcomes))
    console = Console(highlight=False)
    console.print(table)
    for outcome in outcomes:
        console.print(f"{outcome.queue}: seed {outcome.seed}; full disk: {outcome.disk}", style="dim")
        for line in outcome.wrong[:WRONG_MAX]:
            console.print(Text(f"  {line}", style="red"))


def _verdict(number: int) -> Text:
    return Text(f"{number:,}", style="bold red" if number else "bold green")
