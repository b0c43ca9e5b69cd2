"""Torn database files: copies of a state folder with one damaged file each. The service must refuse them."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from actors.cli.launch import Service
from actors.embedded_nsqd.journal_file import FILE_NAME
from actors.store import ledger_path, outbox_path
from actors.system.exits import EXIT_STORE, Failure

PAGE = 4096


class Verdict(NamedTuple):
    """The damage to a file, and why the refusal was wrong; "" if it was right."""

    damage: str
    wrong: str


def _cut(content: bytes, chance: Random) -> bytes:
    return content[: chance.randrange(1, len(content) - 1)]


def _garble(content: bytes, chance: Random) -> bytes:
    return b"".join(
        chance.randbytes(64) + content[start + 64 : start + PAGE] for start in range(0, len(content), PAGE)
    )


def _flip_heads(content: bytes, chance: Random) -> bytes:
    """Keep the file's head, and give every other page a kind that does not exist."""
    pages = [content[start : start + PAGE] for start in range(0, len(content), PAGE)]
    return pages[0] + b"".join(b"\xff" + page[1:] for page in pages[1:])


DAMAGES: dict[str, Callable[[bytes, Random], bytes]] = {
    "cut short": _cut,
    "garbled": _garble,
    "with pages of no kind": _flip_heads,
}


def check(state_dir: Path, folder: Path, settings: list[str], chance: Random) -> list[Verdict]:
    """Try each damage on a ledger, one on the dispatcher's store, and one on the embedded queue's journal.

    Each is tried in a copy of a service at rest.

    `settings`: the service's, with free ports.
    """
    ledger = Path(ledger_path(str(state_dir), chance.randrange(2))).relative_to(state_dir)
    outbox = Path(outbox_path(str(state_dir))).relative_to(state_dir)
    cases = [*((ledger, damage) for damage in DAMAGES), (outbox, chance.choice(list(DAMAGES)))]
    journal = Path("nsqd", FILE_NAME)
    if (state_dir / journal).exists():
        cases.append((journal, chance.choice(list(DAMAGES))))
    return [
        _try(state_dir, folder / f"copy-{number}", *case, settings, chance)
        for number, case in enumerate(cases)
    ]


def _try(
    state_dir: Path, copy: Path, file: Path, damage: str, settings: list[str], chance: Random
) -> Verdict:
    shutil.copytree(state_dir, copy, ignore=shutil.ignore_patterns("ballast", "service.log"))
    path = copy / file
    path.write_bytes(DAMAGES[damage](path.read_bytes(), chance))
    service = Service(copy, settings)
    with contextlib.suppress(Failure):
        service.start()
    try:
        return Verdict(f"{file} {damage}", _wrong(service, path))
    finally:
        service.end()
        shutil.rmtree(copy)


def _wrong(service: Service, path: Path) -> str:
    if not service.ended:
        return "it was not refused"
    if service.process is not None and service.process.returncode != EXIT_STORE:
        return f"ended with {service.process.returncode}, expected {EXIT_STORE}\n{service.log()}"
    said = [line for line in service.log().splitlines() if f"{path}: " in line]
    if not any(os.fspath(path) in line and "supervisor.state_dir" in line for line in said):
        return f"the log does not say which file it is and what to do\n{service.log()}"
    return ""
