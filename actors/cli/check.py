"""`check`: looks at the state folder, the service, the queue and the client, and says what works.

It changes nothing: no topic or channel is made, no message published or taken, and the client gets nothing.
It needs no right that the service does not need. `checks/` has what it looks at.
"""

import argparse
import asyncio

from rich.table import Table
from rich.text import Text

from ..config import Settings
from ..supervision.printable import printable
from ..supervision.standard_streams import print_json
from ..system.exits import EXIT_DONE, EXIT_FAILED
from ..system.logs import quiet_libraries
from .checks.client import check_client, check_totals
from .checks.finding import Finding, Verdict
from .checks.queue import check_queue
from .checks.state import check_folder, check_service, check_store
from .page import Page

MARK_COLUMNS = 7
FOUND_COLUMNS_MIN = 30
_MARKS = {
    Verdict.WORKS: ("works", "green"),
    Verdict.WARNS: ("WARNS", "bold yellow"),
    Verdict.FAILS: ("FAILS", "bold red"),
    Verdict.SKIPPED: ("-", "dim"),
}


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print what was found, and what to do. Returns 1 if something fails, else 0."""
    quiet_libraries()  # each finding says by itself what is wrong
    findings = asyncio.run(_all(settings))
    failed = any(one.verdict is Verdict.FAILS for one in findings)
    if options.json:
        checks = [one._asdict() for one in findings]
        print_json({"ok": not failed, "checks": checks})
    else:
        _show(findings)
    return EXIT_FAILED if failed else EXIT_DONE


async def _all(settings: Settings) -> list[Finding]:
    return [
        check_folder(settings),
        check_store(settings),
        await check_service(settings),
        *await check_queue(settings),
        await check_client(settings),
        *await check_totals(settings),
    ]


def _show(findings: list[Finding]) -> None:
    """Print a table. Where it leaves no room for what was found, that is below what was looked at."""
    page = Page()
    beside = page.width - max(len(one.what) for one in findings) >= FOUND_COLUMNS_MIN + MARK_COLUMNS
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=beside, overflow="fold")
    if beside:
        table.add_column(overflow="fold")
    for one in findings:
        mark, style = _MARKS[one.verdict]
        cells = [printable(one.what), printable(f"{one.found}: {one.do}" if one.do else one.found)]
        table.add_row(Text(mark, style=style), *(map(Text, cells) if beside else [Text("\n".join(cells))]))
    page.print(table)
