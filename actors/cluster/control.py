"""The commands of another terminal: stop, start, pause and resume a node of a running cluster; its status.

The cluster listens on a free port of this machine. A file in its folder, which only its user can read, has
the port and a token. A request is one line of JSON with the token, and so is the answer. While the cluster
lives, it holds a lock beside the file: so the file of a killed one is not believed.
"""

import asyncio
import contextlib
import hmac
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from ..system.exits import Failure
from ..system.installation import service_command
from ..system.locks import is_locked, try_lock
from ..system.ownership import check_owner_of
from ..system.reasons import reason_of
from ..system.regular import open_regular
from .plan import HOST

NAME = "cluster.json"
LOCK = "cluster.lock"
LINE_BYTES_MAX = 65_536
ANSWER_TIMEOUT_S = 120.0  # a node may take its whole time to start
REQUEST_TIMEOUT_S = 10.0


class Facts(Struct, frozen=True):
    """What the file has: the supervisor's pid, where it listens, and the token."""

    pid: int
    port: int
    token: str


class Request(Struct, frozen=True):
    """One command. `node`: "" for the status of all."""

    token: str
    action: str
    node: str = ""


class Answer(Struct, frozen=True):
    """What was done, or what is; or why not."""

    done: str = ""
    error: str = ""


def lock(folder: Path) -> int:
    """Lock the folder of a cluster until this process ends. Raises `Failure` if another cluster has it."""
    try:
        held = try_lock(folder / LOCK)
    except OSError as error:
        raise Failure(
            f"{folder} can't be written ({error.strerror}), expected a folder for --data-dir"
        ) from error
    if held is None:
        facts = _read(folder)
        pid = f" (pid {facts.pid})" if facts else ""
        raise Failure(
            f"a cluster runs already on {folder}{pid}: end it with Ctrl-C or SIGTERM, or give this one "
            "another --data-dir and --port"
        )
    return held


def facts_of(folder: Path) -> Facts:
    """Return the facts of this user's cluster that runs on a folder. Raises `Failure` if none does."""
    with contextlib.suppress(OSError):
        check_owner_of(folder)
    facts = _read(folder) if is_locked(folder / LOCK) else None
    if facts is None:
        raise Failure(
            f"no cluster runs on {folder}; start one with `{service_command()} cluster`, or name "
            "its --data-dir"
        )
    return facts


def _read(folder: Path) -> Facts | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError), open_regular(folder / NAME) as file:
        return msgspec.json.decode(file.read(LINE_BYTES_MAX), type=Facts)
    return None


def ask(folder: Path, action: str, node: str = "") -> str:
    """Send a command to the cluster that runs on a folder. Returns what was done. Raises `Failure`."""
    facts = facts_of(folder)
    try:
        with socket.create_connection((HOST, facts.port), ANSWER_TIMEOUT_S) as connection:
            connection.sendall(msgspec.json.encode(Request(facts.token, action, node)) + b"\n")
            with connection.makefile("rb") as file:
                answer = msgspec.json.decode(file.readline(LINE_BYTES_MAX), type=Answer)
    except (OSError, msgspec.MsgspecError) as error:
        raise Failure(
            f"the cluster on {folder} (pid {facts.pid}) does not answer ({reason_of(error)})"
        ) from error
    if answer.error:
        raise Failure(answer.error)
    return answer.done


class Control:
    """Takes the commands. `act` carries one out: it returns what was done, and raises `Failure`."""

    def __init__(self, folder: Path, act: Callable[[str, str], Awaitable[str]]):
        self._file = folder / NAME
        self._act = act
        self._token = secrets.token_hex(16)

    async def open(self) -> None:
        """Listen, and write the file."""
        self._server = await asyncio.start_server(self._serve, HOST, 0, limit=LINE_BYTES_MAX)
        port = self._server.sockets[0].getsockname()[1]
        _write(self._file, Facts(os.getpid(), port, self._token))

    def close(self) -> None:
        """Take no more commands."""
        self._file.unlink(missing_ok=True)
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, ValueError):  # it is gone, silent, or says too much
            line = await asyncio.wait_for(reader.readline(), REQUEST_TIMEOUT_S)
            writer.write(msgspec.json.encode(await self._answer(line)) + b"\n")
            await writer.drain()
        writer.close()

    async def _answer(self, line: bytes) -> Answer:
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return Answer(error="not a command, expected one line of JSON with token, action and node")
        if not hmac.compare_digest(request.token.encode("utf-8", "replace"), self._token.encode()):
            return Answer(error=f"a wrong token, expected the one in {self._file}")
        try:
            return Answer(done=await self._act(request.action, request.node))
        except Failure as failure:
            return Answer(error=str(failure))


def _write(path: Path, facts: Facts) -> None:
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(facts) + b"\n")
    draft.replace(path)
