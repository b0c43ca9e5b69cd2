"""What every actor process does: start, be linked, handle messages, be asked, drain, terminate.

Owns the child's end of the control pipe, its links, signals and log. An actor (a subclass of `Actor`)
owns what it is for. Promises: `Ready` is said once `init` is done; a peer's link is told to the actor
when it is there and when it is lost; the process ends when its supervisor does. An exception in an
actor ends the process with a traceback and code 1: the supervisor knows what to do.
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
from typing import Any, ClassVar, Generic

import msgspec
import setproctitle

from ..config import Settings
from ..core.messages import (
    ChildInbox,
    Drain,
    Drained,
    Figures,
    Linked,
    MayEnd,
    Message,
    Ping,
    Pong,
    Ready,
    Resumed,
    ServiceFigures,
    Shutdown,
    Stopping,
)
from ..system.connections import is_shortage
from ..system.exits import EXIT_DONE, EXIT_FAILED, Failure
from .control import ControlPipe, PeerLost, PeerStuck
from .mailbox import Inbox, Link, end_of

log = logging.getLogger(__name__)


class Birth(msgspec.Struct, frozen=True):
    """What a child is born with. `start` is "module:class" of its actor."""

    id: str
    incarnation: int
    start: str
    settings: Settings
    log_level: str = "INFO"

    @property
    def name(self) -> str:
        """The name in every log line: child id and incarnation."""
        return f"{self.id}#{self.incarnation}"


class Actor(Generic[Inbox]):
    """One child's behaviour. Subclass it, and say which messages its mailbox takes: `Inbox`, which is
    `Never` for none, and `inbox`, the same for msgspec."""

    inbox: ClassVar[Any] = None

    def __init__(self, birth: Birth):
        self.birth = birth
        self.settings = birth.settings
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
        raise AssertionError(f"{self.birth.id} takes no messages, and got some from {peer}")

    def figures(self) -> Figures:
        """What the supervisor is told with every answer to a ping."""
        return ServiceFigures()

    def drain(self) -> None:
        """Finish what is held, take nothing new, then call `say_drained`."""
        self.say_drained()

    async def terminate(self) -> None:
        """The last call before the process ends in order."""

    def send(self, peer: str, message: Message) -> None:
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


class _Shell(Generic[Inbox]):
    """The loop around one actor."""

    def __init__(self, actor: Actor[Inbox], control: ControlPipe[ChildInbox]):
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
        loop.add_reader(self.control.fileno(), self._hear)
        self._say(ready)
        self.actor._resumed.add_done_callback(lambda done: self._say(Resumed(done.result())))
        code = await self.ended
        await self.actor.terminate()
        return code

    def _hear(self) -> None:
        try:
            for message, descriptor in self.control.receive():
                self._obey(message, descriptor)
        except PeerLost:
            self._supervisor_gone()

    def _obey(self, message: ChildInbox, descriptor: int | None) -> None:
        match message:
            case Ping():
                waiting = sum(link.waiting_bytes() for link in self.actor._links.values())
                self._say(Pong(message.number, self.actor.figures(), waiting))
            case Linked():
                assert descriptor is not None
                self._link(message, socket.socket(fileno=descriptor))
            case Drain():
                self.actor._drained.add_done_callback(lambda done: self._say(Drained(done.result())))
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

    def _say(self, message: Message) -> None:
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
            self._say(MayEnd())

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(EXIT_DONE)

    def _unexpected(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None or isinstance(error, ConnectionError) or is_shortage(error):
            log.warning("%s", context.get("message"))
            return
        self._fail(error)

    def _fail(self, error: BaseException | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(error or RuntimeError("unknown"))


def run(birth: Birth, connection: Connection) -> None:
    """The main function of a child process."""
    setproctitle.setproctitle(f"playtally: {birth.id}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the supervisor stops us in order
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the forkserver ignores it, and we come from there
    configure_log(birth.name, birth.log_level)
    control: ControlPipe[ChildInbox] = ControlPipe(end_of(connection), ChildInbox)
    try:
        code = asyncio.run(_live(birth, control))
    except Failure as failure:
        log.error("%s", failure)
        code = failure.code
    except Exception:  # noqa: BLE001 - whatever it is, it is a bug, and ends this process in words
        log.error("stopped by a bug:\n%s", traceback.format_exc().rstrip())
        code = EXIT_FAILED
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
    logging.getLogger("nsq").setLevel(logging.CRITICAL)  # we say it ourselves, in our words
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)


async def _live(birth: Birth, control: ControlPipe[ChildInbox]) -> int:
    module, _, kind = birth.start.partition(":")
    actor: Actor[Any] = getattr(importlib.import_module(module), kind)(birth)
    return await _Shell(actor, control).run()
