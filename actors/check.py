"""`check`: tries what the service needs, one after the other, and says what works and what doesn't.

Touches nothing that the service uses: a throw-away topic for the queue, no publish to the client.
"""

import asyncio
import json
import os
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import nsq
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tornado.tcpclient import TCPClient

from . import runfile
from .config import Settings
from .exits import EXIT_DONE, EXIT_FAILED, Failure
from .tree import with_addresses

TIMEOUT_S = 5.0


class Skipped(Exception):
    """A check that has nothing to try, and why."""


def run(settings: Settings) -> int:
    """Print a line a check on stdout. 0 when all that was tried works."""
    checks: list[tuple[str, Callable[[Settings], Awaitable[str]]]] = [
        ("state folder", _state_folder),
        ("service", _service),
        ("queue", _queue),
        ("client", _client),
    ]
    console, table, failed = Console(highlight=False), Table(box=None, show_header=False), False
    for name, check in checks:
        try:
            found = asyncio.run(check(settings))
            mark = Text("works", style="green")
        except Skipped as why:
            found, mark = str(why), Text("-", style="dim")
        except (Failure, OSError, TimeoutError, ValueError) as error:
            found = str(error) or f"no answer within {TIMEOUT_S:g} s"
            mark, failed = Text("FAILS", style="bold red"), True
        table.add_row(mark, name, Text(found))
    console.print(table)
    return EXIT_FAILED if failed else EXIT_DONE


async def _state_folder(settings: Settings) -> str:
    folder = Path(settings.supervisor.state_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"playtally")
            os.fsync(file.fileno())
    except OSError as error:
        raise Failure(
            f"{folder} cannot be written ({error.strerror}), expected a folder of ours: see "
            "supervisor.state_dir"
        ) from error
    return f"{folder} can be written"


async def _service(settings: Settings) -> str:
    facts = runfile.read(settings.supervisor.state_dir)
    if facts is None:
        raise Skipped("none runs on this state folder; start it with `python supervisor.py`")
    return f"runs, pid {facts['pid']}, status at http://{facts['admin_address']}/status"


async def _queue(settings: Settings) -> str:
    addresses = await _nsqds(settings)
    for address in addresses:
        started_s = time.monotonic()
        await asyncio.wait_for(_round_trip(address), TIMEOUT_S)
        took_ms = (time.monotonic() - started_s) * 1000
    return f"nsqd {', '.join(addresses)} took and gave a message, the last in {took_ms:.1f} ms"


async def _nsqds(settings: Settings) -> list[str]:
    if settings.nsq.nsqd_tcp_addresses:
        return list(settings.nsq.nsqd_tcp_addresses)
    if settings.nsq.lookupd_http_addresses:
        return [found for url in settings.nsq.lookupd_http_addresses for found in _ask_lookupd(url)]
    facts = runfile.read(settings.supervisor.state_dir)
    if facts is None:
        raise Skipped("the embedded queue runs only while the service does")
    return [facts["nsqd_tcp_address"]]


def _ask_lookupd(address: str) -> list[str]:
    url = (address if "://" in address else f"http://{address}").rstrip("/") + "/nodes"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            nodes = json.load(answer)["producers"]
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        raise Failure(f"nsqlookupd {address} does not answer ({error}), expected GET /nodes") from error
    if not nodes:
        raise Failure(f"nsqlookupd {address} knows no nsqd, expected one at least")
    return [f"{node['broadcast_address']}:{node['tcp_port']}" for node in nodes]


async def _round_trip(address: str) -> None:
    """Publish one message to a topic of its own and read it back, by the plain protocol."""
    host, _, port = address.rpartition(":")
    topic = f"playtally-check-{uuid.uuid4().hex[:12]}#ephemeral"
    body = b"a message of `supervisor.py check`"
    try:
        stream = await TCPClient().connect(host.strip("[]"), int(port), timeout=TIMEOUT_S)
    except OSError as error:
        reason = _reason(error)
        raise Failure(f"no nsqd at {address} ({reason}), expected one: see [nsq] in the config") from error
    try:
        stream.write(
            nsq.protocol.MAGIC_V2
            + nsq.protocol.subscribe(topic, "check#ephemeral")
            + nsq.protocol.ready(1)
            + nsq.protocol.pub(topic, body)
        )
        while True:
            size = int.from_bytes(await stream.read_bytes(4), "big")
            kind, data = nsq.protocol.unpack_response(await stream.read_bytes(size))
            if kind == nsq.protocol.FRAME_TYPE_ERROR:
                raise Failure(f"nsqd {address} refused: {data.decode(errors='replace')}")
            if kind == nsq.protocol.FRAME_TYPE_MESSAGE:
                message = nsq.protocol.decode_message(data)
                if message.body != body:
                    raise Failure(f"nsqd {address} gave another message than it was given")
                await stream.write(nsq.protocol.finish(message.id))
                return
    finally:
        stream.close()


async def _client(settings: Settings) -> str:
    url = settings.publish.url
    facts = runfile.read(settings.supervisor.state_dir)
    if not url:
        raise Skipped('publish.url = "": publishes go to stdout alone')
    if facts is None and settings.client.enabled:
        raise Skipped("the reference client runs only while the service does")
    if facts and settings.client.enabled:
        url = with_addresses(settings, {"client.address": facts["client_address"]}).publish.url
    parts = urllib.parse.urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        stream = await TCPClient().connect(parts.hostname, port, timeout=TIMEOUT_S)
    except OSError as error:
        reason = _reason(error)
        raise Failure(f"nobody listens at {url} ({reason}), expected your client") from error
    stream.close()
    return f"{url} takes connections (nothing was published)"




def _reason(error: OSError) -> str:
    """In words; tornado hides the real error of a connection in one of its own."""
    real = getattr(error, "real_error", None) or error
    return getattr(real, "strerror", None) or str(real)
