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
import time
import traceback
from collections.abc import Awaitable, Callable, Collection
from multiprocessing.connection import Connection
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec
import setproctitle

from .control import ControlPipe, PeerLost, PeerStuck
from .loop import Loop, PlainLoop, Timer
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
Result = TypeVar("Result")


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


class Host(Protocol):
    """What an actor has of its process: the time, its links, a word with its supervisor.

    `ActorHost` is the real one. A simulation hands in one of its own.
    """

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, by this machine's clock, which may be set at any time."""

    def monotonic_ms(self) -> int:
        """Milliseconds since some moment, by a clock that is never set."""

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call that after this many seconds, unless the timer is cancelled."""

    def spawn(self, awaitable: Awaitable[Result], done: Callable[[Result], None]) -> None:
        """Wait for that while other things go on, then call `done`. What it raises ends the process."""

    def send(self, peer: str, message: msgspec.Struct) -> None:
        """Put a message into a peer's mailbox; dropped when there is no link to it."""

    def peers(self) -> Collection[str]:
        """The peers to which a link is there now."""

    def link_name(self, peer: str) -> str:
        """A linked peer with its incarnation, for the log."""

    def say_resumed(self, note: str = "") -> None:
        """Tell the supervisor that this does its work; said once, the first time it is called."""

    def say_drained(self, left: str = "") -> None:
        """Tell the supervisor that nothing is held any more, or what could not be finished."""


class Actor(Generic[Inbox, Options]):
    """What one child does. Subclass it.

    `Inbox` is the union of the messages that its mailbox takes, `Never` for none; the class attribute `inbox`
    is the same for msgspec. `Options` is the type of `StartArgs.options`.

    `needs_asyncio`: whether it runs in asyncio's loop. Else it runs in a plain one, which costs less: then
    `init` and `terminate` must not wait, there is no `spawn`, and every exception ends the process.
    """

    inbox: ClassVar[Any] = None
    needs_asyncio: ClassVar[bool] = True

    def __init__(self, start_args: StartArgs, host: Host):
        self.start_args = start_args
        self.options: Options = start_args.options
        self.host = host

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
        """Finish what is held, take nothing new, then call `host.say_drained`."""
        self.host.say_drained()

    async def terminate(self) -> None:
        """The last call before the process ends in order."""


class ActorHost(Generic[Inbox, Options]):
    """The process around one actor. Implements `Host`."""

    def __init__(
        self,
        start_args: StartArgs,
        control: ControlPipe[ChildInbox],
        loop: Loop,
        kind: Callable[[StartArgs, Host], Actor[Inbox, Options]],
    ):
        self._control = control
        self._loop = loop
        self._links: dict[str, Link[Inbox]] = {}
        self._tasks: set[asyncio.Future[Any]] = set()
        self._error: BaseException | None = None
        self._ready = self._running = self._stopping = self._drained = False
        self._resumed: str | None = None
        self.actor = kind(start_args, self)

    def run(self) -> int:
        """Live until told to stop, until the supervisor is gone, or until something breaks."""
        loop = self._loop
        loop.set_exception_handler(self._unexpected)
        loop.add_signal_handler(signal.SIGTERM, self._sigterm)
        # What the supervisor says while `init` runs is read after it: links are of no use before.
        ready = loop.run_until_complete(self.actor.init())
        loop.add_reader(self._control.fileno(), self._on_readable)
        self._tell(ready)
        self._ready = True
        if self._resumed is not None:
            self._tell(Resumed(self._resumed))
        if self._error is None:
            self._running = True
            loop.run_forever()
            self._running = False
        if self._error is not None:
            raise self._error
        loop.run_until_complete(self.actor.terminate())
        return EXIT_DONE

    # What the actor may ask for: see `Host`

    def wall_ns(self) -> int:
        """See `Host`."""
        return time.time_ns()

    def monotonic_ms(self) -> int:
        """See `Host`."""
        return time.monotonic_ns() // 1_000_000

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """See `Host`."""
        return self._loop.call_later(delay_s, call)

    def spawn(self, awaitable: Awaitable[Result], done: Callable[[Result], None]) -> None:
        """See `Host`."""

        async def wait() -> None:
            done(await awaitable)

        task = asyncio.ensure_future(wait())
        self._tasks.add(task)
        task.add_done_callback(self._spawned_ended)

    def send(self, peer: str, message: msgspec.Struct) -> None:
        """See `Host`."""
        link = self._links.get(peer)
        if link is not None:
            link.send(message)

    def peers(self) -> Collection[str]:
        """See `Host`."""
        return self._links.keys()

    def link_name(self, peer: str) -> str:
        """See `Host`."""
        return str(self._links.get(peer, peer))

    def say_resumed(self, note: str = "") -> None:
        """See `Host`."""
        if self._resumed is None:
            self._resumed = note
            if self._ready:
                self._tell(Resumed(note))

    def say_drained(self, left: str = "") -> None:
        """See `Host`."""
        if not self._drained:
            self._drained = True
            self._tell(Drained(left))

    # What the supervisor and the peers say

    def _on_readable(self) -> None:
        try:
            for message, descriptor in self._control.receive():
                self._handle_control(message, descriptor)
        except PeerLost:
            self._supervisor_gone()

    def _handle_control(self, message: ChildInbox, descriptor: int | None) -> None:
        match message:
            case Ping():
                waiting = sum(link.waiting_bytes() for link in self._links.values())
                self._tell(Pong(message.number, self.actor.stats(), waiting))
            case Linked():
                assert descriptor is not None
                self._link(message, socket.socket(fileno=descriptor))
            case Drain():
                self.actor.drain()
            case Stopping():
                self._stopping = True
            case Shutdown():
                self._end()
            case _:
                raise AssertionError(f"not for a child: {message!r}")

    def _link(self, message: Linked, end: socket.socket) -> None:
        if message.peer in self._links:
            self._lost(self._links[message.peer])
        link = Link(
            message.peer, message.incarnation, end, self.actor.inbox, self._loop, self._deliver, self._lost
        )
        self._links[message.peer] = link
        self.actor.linked(message.peer)

    def _deliver(self, link: Link[Inbox], messages: list[Inbox]) -> None:
        self.actor.handle(link.peer, messages)

    def _lost(self, link: Link[Inbox]) -> None:
        if self._links.get(link.peer) is link:
            link.close()
            del self._links[link.peer]
            self.actor.lost(link.peer)

    def _tell(self, message: msgspec.Struct) -> None:
        try:
            self._control.send(message)
        except (PeerLost, PeerStuck):
            self._supervisor_gone()

    def _supervisor_gone(self) -> None:
        # No farewell: what is not committed comes again, and a new supervisor may be waiting.
        log.warning("the supervisor is gone, so this ends too")
        os._exit(EXIT_FAILED)

    def _sigterm(self) -> None:
        # Meant for us alone, or for the whole service? However busy this machine is, the supervisor knows.
        if not self._stopping:
            self._tell(MayEnd())

    def _spawned_ended(self, task: "asyncio.Future[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fail(task.exception())

    def _unexpected(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None or self.actor.survives(error):
            log.warning("%s", context.get("message"))
            return
        self._fail(error)

    def _fail(self, error: BaseException | None) -> None:
        self._error = self._error or error
        self._end()

    def _end(self) -> None:
        if self._running:
            self._loop.stop()


def run(start_args: StartArgs, connection: Connection) -> None:
    """The main function of a child process."""
    setproctitle.setproctitle(start_args.title or start_args.name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the supervisor stops us in order
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the forkserver ignores it, and we come from there
    configure_log(start_args.name, start_args.log_level)
    control: ControlPipe[ChildInbox] = ControlPipe(end_of(connection), ChildInbox)
    try:
        code = _live(start_args, control)
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


def _live(start_args: StartArgs, control: ControlPipe[ChildInbox]) -> int:
    module, _, name = start_args.start.partition(":")
    kind: type[Actor[Any, Any]] = getattr(importlib.import_module(module), name)
    loop: Loop
    if kind.needs_asyncio:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    else:
        loop = PlainLoop()
    return ActorHost(start_args, control, loop, kind).run()
