"""What every actor process does: start, be linked, handle messages, be asked, drain, terminate.

Owns the child's end of the control pipe, its links, signals and log. An actor (a subclass of `Actor`)
owns what it is for. Promises: `Ready` is said once `init` is done; a peer's link is told to the actor
when it is there and when it is lost; the process ends when its supervisor does. An exception in an
actor ends the process with a traceback and code 1, or with its `exit_code` and its text where it has one: the
supervisor knows what to do.
"""

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
import setproctitle

from .control import ControlPipe, PeerLost, PeerStuck
from .mailbox import Inbox, Link, end_of
from .protocol import (
    ChildInbox,
    Drain,
    Drained,
    Linked,
    MayEnd,
    Ping,
    Pong,
    Ready,
    Resumed,
    Shutdown,
    Stopping,
)

log = logging.getLogger(__name__)

EXIT_DONE = 0
EXIT_FAILED = 1

Options = TypeVar("Options")


class StartArgs(msgspec.Struct, frozen=True):
    """What a child process is started with.

    `start` is "module:class" of its actor. `options` is the actor's own: anything that can be pickled.
    `title` is what `ps` shows.
    """

    id: str
    incarnation: int
    start: str
    options: Any = None
    log_level: str = "INFO"
    title: str = ""

    @property
    def name(self) -> str:
        """The name in every log line: child id and incarnation."""
        return f"{self.id}#{self.incarnation}"


class Actor(Generic[Inbox, Options]):
    """What one child does. Subclass it.

    `Inbox` is the union of the messages that its mailbox takes, `Never` for none; the class attribute `inbox`
    is the same for msgspec. `Options` is the type of `StartArgs.options`.
    """

    inbox: ClassVar[Any] = None

    def __init__(self, start_args: StartArgs):
        self.start_args = start_args
        self.options: Options = start_args.options
        self._links: dict[str, Link[Inbox]] = {}
        self._drained: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._resumed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def init(self) -> Ready:
        """Take what is needed. The child counts as started when this returns."""
        return Ready()

    def linked(self, peer: str) -> None:
        """A link to a fresh incarnation of a peer is there."""

    def lost(self, peer: str) -> None:
        """A peer is gone; `linked` follows when it is back."""

    def handle(self, peer: str, messages: list[Inbox]) -> None:
        """Messages that arrived together from one peer."""
        raise AssertionError(f"{self.start_args.id} takes no messages, and got some from {peer}")

    def stats(self) -> bytes:
        """What the supervisor is told with every answer to a ping, in a form of the actor's own."""
        return b""

    def survives(self, error: BaseException) -> bool:
        """Whether this goes on after an exception that nobody waited for; else it ends the process."""
        return isinstance(error, ConnectionError)

    def drain(self) -> None:
        """Finish what is held, take nothing new, then call `say_drained`."""
        self.say_drained()

    async def terminate(self) -> None:
        """The last call before the process ends in order."""

    def send(self, peer: str, message: msgspec.Struct) -> None:
        """Put a message into a peer's mailbox; dropped when there is no link to it."""
        link = self._links.get(peer)
        if link is not None:
            link.send(message)

    def peers(self) -> Iterable[str]:
        """The peers to which a link is there now."""
        return self._links.keys()

    def link_name(self, peer: str) -> str:
        """A linked peer with its incarnation, for the log."""
        return str(self._links.get(peer, peer))

    def say_resumed(self, note: str = "") -> None:
        """Tell the supervisor that this does its work; said once, the first time it is called."""
        if not self._resumed.done():
            self._resumed.set_result(note)

    def say_drained(self, left: str = "") -> None:
        """Tell the supervisor that nothing is held any more, or what could not be finished."""
        if not self._drained.done():
            self._drained.set_result(left)


class ActorHost(Generic[Inbox, Options]):
    """The loop around one actor."""

    def __init__(self, actor: Actor[Inbox, Options], control: ControlPipe[ChildInbox]):
        self.actor = actor
        self.control = control
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.stopping = False

    async def run(self) -> int:
        """Live until told to stop, until the supervisor is gone, or until something breaks."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unexpected)
        loop.add_signal_handler(signal.SIGTERM, self._sigterm)
        # What the supervisor says while `init` runs is read after it: links are of no use before.
        ready = await self.actor.init()
        loop.add_reader(self.control.fileno(), self._on_readable)
        self._send(ready)
        self.actor._resumed.add_done_callback(lambda done: self._send(Resumed(done.result())))
        code = await self.ended
        await self.actor.terminate()
        return code

    def _on_readable(self) -> None:
        try:
            for message, descriptor in self.control.receive():
                self._handle_control(message, descriptor)
        except PeerLost:
            self._supervisor_gone()

    def _handle_control(self, message: ChildInbox, descriptor: int | None) -> None:
        match message:
            case Ping():
                waiting = sum(link.waiting_bytes() for link in self.actor._links.values())
                self._send(Pong(message.number, self.actor.stats(), waiting))
            case Linked():
                assert descriptor is not None
                self._link(message, socket.socket(fileno=descriptor))
            case Drain():
                self.actor._drained.add_done_callback(lambda done: self._send(Drained(done.result())))
                self.actor.drain()
            case Stopping():
                self.stopping = True
            case Shutdown():
                self._end()
            case _:
                raise AssertionError(f"not for a child: {message!r}")

    def _link(self, message: Linked, end: socket.socket) -> None:
        links = self.actor._links
        if message.peer in links:
            self._lost(links[message.peer])
        link = Link(message.peer, message.incarnation, end, self.actor.inbox, self._deliver, self._lost)
        link.reading.add_done_callback(self._read_ended)
        links[message.peer] = link
        self.actor.linked(message.peer)

    def _deliver(self, link: Link[Inbox], messages: list[Inbox]) -> None:
        self.actor.handle(link.peer, messages)

    def _lost(self, link: Link[Inbox]) -> None:
        if self.actor._links.get(link.peer) is link:
            link.close()
            del self.actor._links[link.peer]
            self.actor.lost(link.peer)

    def _read_ended(self, reading: "asyncio.Future[None]") -> None:
        if not reading.cancelled() and reading.exception() is not None:
            self._fail(reading.exception())

    def _send(self, message: msgspec.Struct) -> None:
        try:
            self.control.send(message)
        except (PeerLost, PeerStuck):
            self._supervisor_gone()

    def _supervisor_gone(self) -> None:
        # No farewell: what is not committed comes again, and a new supervisor may be waiting.
        log.warning("the supervisor is gone, so this ends too")
        os._exit(EXIT_FAILED)

    def _sigterm(self) -> None:
        # Meant for us alone, or for the whole service? However busy this machine is, the supervisor knows.
        if not self.stopping:
            self._send(MayEnd())

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(EXIT_DONE)

    def _unexpected(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None or self.actor.survives(error):
            log.warning("%s", context.get("message"))
            return
        self._fail(error)

    def _fail(self, error: BaseException | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(error or RuntimeError("unknown"))


def run(start_args: StartArgs, connection: Connection) -> None:
    """The main function of a child process."""
    setproctitle.setproctitle(start_args.title or start_args.name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the supervisor stops us in order
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the forkserver ignores it, and we come from there
    configure_log(start_args.name, start_args.log_level)
    control: ControlPipe[ChildInbox] = ControlPipe(end_of(connection), ChildInbox)
    try:
        code = asyncio.run(_live(start_args, control))
    except Exception as error:  # noqa: BLE001 - whatever it is, it ends this process in words
        code = getattr(error, "exit_code", EXIT_FAILED)
        if hasattr(error, "exit_code"):
            log.error("%s", error)
        else:
            log.error("stopped by a bug:\n%s", traceback.format_exc().rstrip())
    # Not sys.exit: a worker thread that hangs in a write must not keep a process that is done.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or never open
            stream.flush()
    os._exit(code)


def configure_log(name: str, level: str) -> None:
    """One line an event on stderr: time, who, what."""
    handler = logging.StreamHandler(sys.stderr)
    line = f"%(asctime)s.%(msecs)03d %(levelname).1s {name:<12} %(message)s"
    handler.setFormatter(logging.Formatter(line, "%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=level, force=True)


async def _live(start_args: StartArgs, control: ControlPipe[ChildInbox]) -> int:
    module, _, kind = start_args.start.partition(":")
    actor: Actor[Any, Any] = getattr(importlib.import_module(module), kind)(start_args)
    return await ActorHost(actor, control).run()
