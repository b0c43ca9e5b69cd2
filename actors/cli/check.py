"""`check`: tries the state folder, the service, the queue and the client, and prints which of them work.

It touches none of the service's data: the queue gets a temporary topic, the client gets no publish.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
import urllib.error
import uuid
from pathlib import Path

import nsq
from rich.table import Table
from rich.text import Text

from ..config import Settings, SinkKind
from ..sinks import open_sink, reason_of
from ..sources.client import NsqdClient
from ..sources.lookup import nsqds_of
from ..sources.nsqd_http import tcp_port
from ..sources.security import Security, explained
from ..system import runfile
from ..system.direct_http import open_directly
from ..system.exits import EXIT_DONE, EXIT_FAILED, Failure
from ..system.installation import service_command
from ..tree import with_addresses
from .screen import Page

TIMEOUT_S = 5.0
CONNECTING_S = 3.0  # a service that has just started is connected to its nsqds by then


class Skipped(Exception):
    """There is nothing to check; the text says why."""


def run(settings: Settings, _: argparse.Namespace) -> int:
    """Print one line for each check on stdout. Returns 0 if none failed, else 1."""
    checks = [
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
            f"{folder} cannot be written ({error.strerror}), expected a folder that this user can write: see "
            "supervisor.state_dir"
        ) from error
    return f"{folder} can be written"


async def _service(settings: Settings) -> str:
    facts = runfile.read(settings.supervisor.state_dir)
    if facts is None:
        raise Skipped(f"no service runs on this state folder; start one with `{service_command()}`")
    url, pid = f"http://{facts['admin_address']}", facts["pid"]
    deadline_s = time.monotonic() + CONNECTING_S
    while reasons := _ill(url, pid):
        if time.monotonic() > deadline_s:
            raise Failure(f"pid {pid} runs, but {'; '.join(reasons)}; see its log")
        await asyncio.sleep(0.1)
    return f"runs, pid {pid}, status at {url}/status"


def _ill(url: str, pid: int) -> list[str]:
    """Return why the service at `url` is not healthy; empty if it is. Raises `Failure` without an answer."""
    try:
        with open_directly(f"{url}/healthz", TIMEOUT_S):
            return []
    except urllib.error.HTTPError as error:
        with error:
            told = json.load(error)
        return list(told.get("reasons") or [f"it answers {error.code}"])
    except OSError as error:
        raise Failure(f"pid {pid} does not answer at {url} ({reason_of(error)})") from error


async def _queue(settings: Settings) -> str:
    addresses = await _nsqds(settings)
    security = Security(settings.nsq)
    for http_address in settings.nsq.nsqd_http_addresses:
        if await tcp_port(http_address, security.nsqd_tls()) is None:
            raise Failure(
                f"no HTTP of an nsqd answers at {http_address} (nsq.nsqd_http_addresses); expected nsqd's "
                "HTTP port, often 4151: /status asks there what waits on the queue"
            )
    took_ms = [await _round_trip_ms(address, security) for address in addresses]
    return f"nsqd {', '.join(addresses)} took a message and gave it back, the last in {took_ms[-1]:.1f} ms"


async def _nsqds(settings: Settings) -> list[str]:
    if not settings.embedded:
        return nsqds_of(settings)
    facts = runfile.read(settings.supervisor.state_dir)
    if facts is None or "nsqd_tcp_address" not in facts:
        raise Skipped("the embedded queue runs only while the service does")
    return [facts["nsqd_tcp_address"]]


async def _round_trip_ms(address: str, security: Security) -> float:
    started_s = time.monotonic()
    try:
        await asyncio.wait_for(_round_trip(address, security), TIMEOUT_S)
    except TimeoutError:
        raise Failure(f"nsqd {address} gave no message back within {TIMEOUT_S:g} s") from None
    return (time.monotonic() - started_s) * 1000


async def _round_trip(address: str, security: Security) -> None:
    """Publish one message to a temporary topic and read it back. Raises `Failure`."""
    topic = f"playtally-check-{uuid.uuid4().hex[:12]}#ephemeral"
    body = b"a message of `supervisor.py check`"
    try:
        client = await NsqdClient.open(address, security, {})
    except (OSError, EOFError, ValueError) as error:
        reason = reason_of(error)
        raise Failure(f"no nsqd at {address}: {reason}; expected one, see [nsq] in the config") from error
    try:
        client.write(nsq.protocol.subscribe(topic, "check#ephemeral"))
        client.write(nsq.protocol.ready(1))
        client.write(nsq.protocol.pub(topic, body))
        while True:
            kind, data = await client.read_frame()
            if kind == nsq.protocol.FRAME_TYPE_ERROR:
                raise Failure(f"nsqd {address} refused: {explained(data)}")
            if kind == nsq.protocol.FRAME_TYPE_MESSAGE:
                message = nsq.protocol.decode_message(data)
                if message.body != body:
                    raise Failure(f"nsqd {address} gave back a different message")
                client.write(nsq.protocol.finish(message.id))
                return
    except (EOFError, OSError) as error:
        raise Failure(f"the program at {address} closed the connection; expected an nsqd there") from error
    finally:
        client.close()


async def _client(settings: Settings) -> str:
    kind = settings.publish.sink_kind
    if kind is SinkKind.STDOUT:
        raise Skipped('publish.url = "": publishes go to stdout alone')
    facts = runfile.read(settings.supervisor.state_dir) or {}
    addresses = {
        key: facts[fact]
        for key, fact in (
            ("client.address", "client_address"),
            ("embedded_nsqd.tcp_address", "nsqd_tcp_address"),
        )
        if fact in facts and (key != "client.address" or settings.client.enabled)
    }
    sink = open_sink(with_addresses(settings, addresses))  # raises `Failure` for a wrong setting
    if not facts and kind is SinkKind.URL and settings.client.enabled:
        raise Skipped("the reference client runs only while the service does")
    if not facts and kind is SinkKind.NSQ_TOPIC and settings.embedded:
        raise Skipped("the embedded queue runs only while the service does")
    try:
        await asyncio.wait_for(sink.reach(), TIMEOUT_S)
    except TimeoutError:
        why = f"no connection within {TIMEOUT_S:g} s"
    except OSError as error:
        why = str(error)
    else:
        return f"{sink.name} takes connections (nothing was published)"
    raise Failure(f"{sink.name}: {why}; expected your client there")
