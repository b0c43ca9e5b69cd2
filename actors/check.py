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
from rich.table import Table
from rich.text import Text

from . import runfile
from .config import Settings
from .exits import EXIT_DONE, EXIT_FAILED, Failure
from .screen import Page
from .sinks import open_sink, reason_of
from .tree import with_addresses

TIMEOUT_S = 5.0
FRAME_BYTES_MAX = 1024 * 1024  # far over any frame that a check gets


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
    table, failed = Table(box=None, show_header=False, pad_edge=False), False
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, check in checks:
        try:
            found = asyncio.run(check(settings))
            mark = Text("works", style="green")
        except Skipped as why:
            found, mark = str(why), Text("-", style="dim")
        except (Failure, OSError, ValueError) as error:
            found = str(error)
            mark, failed = Text("FAILS", style="bold red"), True
        table.add_row(mark, name, Text(found))
    Page().print(table)
    return EXIT_FAILED if failed else EXIT_DONE


async def _state_folder(settings: Settings) -> str:
    folder = Path(settings.supervisor.state_dir)
    try:
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"playtally")
            os.fsync(file.fileno())
        if made:
            folder.rmdir()
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
    url = f"http://{facts['admin_address']}"
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=TIMEOUT_S):
            return f"runs, pid {facts['pid']}, status at {url}/status"
    except urllib.error.HTTPError as error:
        down = ", ".join(json.load(error).get("down", []))
        raise Failure(f"pid {facts['pid']} runs, but not all of it: {down} is down; see its log") from error
    except OSError as error:
        raise Failure(f"pid {facts['pid']} does not answer at {url} ({reason_of(error)})") from error


async def _queue(settings: Settings) -> str:
    addresses = await _nsqds(settings)
    for address in addresses:
        started_s = time.monotonic()
        try:
            await asyncio.wait_for(_round_trip(address), TIMEOUT_S)
        except TimeoutError:
            raise Failure(f"nsqd {address} gave no message back within {TIMEOUT_S:g} s") from None
        took_ms = (time.monotonic() - started_s) * 1000
    return f"nsqd {', '.join(addresses)} took and gave a message, the last in {took_ms:.1f} ms"


async def _nsqds(settings: Settings) -> list[str]:
    if settings.nsq.nsqd_tcp_addresses:
        return list(settings.nsq.nsqd_tcp_addresses)
    if settings.nsq.lookupd_http_addresses:
        return [found for url in settings.nsq.lookupd_http_addresses for found in _ask_lookupd(url)]
    facts = runfile.read(settings.supervisor.state_dir)
    if facts is None or "nsqd_tcp_address" not in facts:
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
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError as error:
        reason = reason_of(error)
        raise Failure(f"no nsqd at {address}: {reason}; expected one, see [nsq] in the config") from error
    try:
        writer.write(
            nsq.protocol.MAGIC_V2
            + nsq.protocol.subscribe(topic, "check#ephemeral")
            + nsq.protocol.ready(1)
            + nsq.protocol.pub(topic, body)
        )
        while True:
            size = int.from_bytes(await reader.readexactly(4), "big")
            if size > FRAME_BYTES_MAX:
                raise Failure(f"what answers at {address} is no nsqd; expected its TCP port, often 4150")
            kind, data = nsq.protocol.unpack_response(await reader.readexactly(size))
            if kind == nsq.protocol.FRAME_TYPE_ERROR:
                raise Failure(f"nsqd {address} refused: {data.decode(errors='replace')}")
            if kind == nsq.protocol.FRAME_TYPE_MESSAGE:
                message = nsq.protocol.decode_message(data)
                if message.body != body:
                    raise Failure(f"nsqd {address} gave another message than it was given")
                writer.write(nsq.protocol.finish(message.id))
                await writer.drain()
                return
    except (EOFError, OSError) as error:
        raise Failure(f"what answers at {address} closed the connection; expected an nsqd there") from error
    finally:
        writer.close()


async def _client(settings: Settings) -> str:
    if not settings.publish.url:
        raise Skipped('publish.url = "": publishes go to stdout alone')
    open_sink(settings.publish)  # says what is wrong with the address or the secret
    facts = runfile.read(settings.supervisor.state_dir)
    if facts is None and settings.client.enabled:
        raise Skipped("the reference client runs only while the service does")
    url = settings.publish.url
    if facts and "client_address" in facts and settings.client.enabled:
        url = with_addresses(settings, {"client.address": facts["client_address"]}).publish.url
    parts = urllib.parse.urlsplit(url)
    secure = parts.scheme == "https"
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    port = parts.port or (443 if secure else 80)
    connecting = asyncio.open_connection(parts.hostname, port, ssl=secure or None)
    try:
        _, writer = await asyncio.wait_for(connecting, TIMEOUT_S)
    except TimeoutError:
        raise Failure(f"{shown}: no connection within {TIMEOUT_S:g} s; expected your client there") from None
    except OSError as error:
        raise Failure(f"{shown}: {reason_of(error)}; expected your client there") from error
    writer.close()
    return f"{shown} takes connections (nothing was published)"
