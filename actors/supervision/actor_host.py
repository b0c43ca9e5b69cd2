"""The process around an actor: it starts it, links it, hands it messages, and ends with its supervisor.

Owns the child's end of the control pipe, the links, the signals and the log. Promises: `Ready` is sent once
`init` is done, and the process ends when its supervisor does.
"""

import asyncio
import contextlib
import gc
import logging
import os
import pkgutil
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Collection
from multiprocessing.connection import Connection
from typing import Any, Generic

import msgspec
import setproctitle

from . import log_writer, signals
from .actor import Actor, Host, Options, Result, StartArgs
from .control import ControlPipe, PeerLost, PeerStuck
from .log_format import configure_log
from .loop import Loop, PlainLoop, Timer
from .mailbox import Inbox, Link, end_of
from .protocol import (
    UNASKED,
    Call,
    ChildInbox,
    Drain,
    Drained,
    Linked,
    Loading,
    MayEnd,
    Ping,
    Pong,
    Reload,
    Reply,
    Resumed,
    Shutdown,
    Stopping,
)

log = logging.getLogger(__name__)

EXIT_DONE = 0
EXIT_FAILED = 1
TELL_PATIENCE_S = 5.0  # then the supervisor, which reads at once, is as good as gone
LOADING_INTERVAL_S = 0.5  # the supervisor is told no more often how far `init` is


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
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._ready = self._running = self._stopping = self._drained = False
        self._resumed: str | None = None
        self._say_loading_s = 0.0
        self._corked = False
        self._held: list[Link[Inbox]] = []  # to which something was sent since `cork`
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
            try:
                done(await awaitable)
            except Exception as error:  # noqa: BLE001 - whatever it is, it ends this process
                self._fail(error)
            finally:
                self._tasks.discard(task)

        assert isinstance(self._loop, asyncio.AbstractEventLoop)
        task = self._loop.create_task(wait())
        self._tasks.add(task)  # the loop itself does not keep it alive

    def guarded(self, done: Callable[[Result], None]) -> Callable[[Result], None]:
        """See `Host`."""

        def call(result: Result) -> None:
            try:
                done(result)
            except Exception as error:  # noqa: BLE001 - as in `spawn`
                self._fail(error)

        return call

    def send(self, peer: str, message: msgspec.Struct) -> None:
        """See `Host`."""
        link = self._links.get(peer)
        if link is not None:
            link.send(message, hold=self._corked)
            if self._corked:
                self._held.append(link)

    def cork(self) -> None:
        """See `Host`."""
        self._corked = True

    def uncork(self) -> None:
        """See `Host`."""
        self._corked = False
        for link in self._held:
            link.flush()
        self._held.clear()

    def peers(self) -> Collection[str]:
        """See `Host`."""
        return self._links.keys()

    def link_name(self, peer: str) -> str:
        """See `Host`."""
        return str(self._links.get(peer, peer))

    def say_loading(self, done: int, total: int, what: str) -> None:
        """See `Host`."""
        now_s = time.monotonic()
        if not self._ready and now_s >= self._say_loading_s:
            self._say_loading_s = now_s + LOADING_INTERVAL_S
            self._tell(Loading(done, total, what))

    def say_resumed(self, note: str = "") -> None:
        """See `Host`."""
        if self._resumed is None:
            self._resumed = note
            if self._ready:
                self._tell(Resumed(note))

    def say_stats(self) -> None:
        """See `Host`."""
        if self._ready:
            self._tell_stats(UNASKED)

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
                self._tell_stats(message.number)
            case Linked():
                assert descriptor is not None
                self._link(message, socket.socket(fileno=descriptor))
            case Call():
                number = message.number
                self.actor.handle_call(message.request, lambda reply: self._tell(Reply(number, reply)))
            case Drain():
                self.actor.drain()
            case Reload():
                self.actor.reload()
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
            message.peer,
            message.incarnation,
            end,
            self.actor.inbox,
            self._loop,
            self.actor.handle,
            self._lost,
        )
        self._links[message.peer] = link
        self.actor.linked(message.peer)

    def _lost(self, link: Link[Inbox]) -> None:
        if self._links.get(link.peer) is link:
            link.close()
            del self._links[link.peer]
            self.actor.lost(link.peer)

    def _tell(self, message: msgspec.Struct) -> None:
        try:
            # The pipe may not hold all that an actor tells of itself. The supervisor never waits for us.
            self._control.send(message, patience_s=TELL_PATIENCE_S)
        except (PeerLost, PeerStuck):
            self._supervisor_gone()

    def _tell_stats(self, ping: int) -> None:
        waiting = sum(link.waiting_bytes() for link in self._links.values())
        self._tell(Pong(ping, self.actor.stats(), waiting, log_writer.lines_dropped()))

    def _supervisor_gone(self) -> None:
        # No farewell: what is not committed comes again, and a new supervisor may be waiting.
        log.warning("the supervisor is gone, so this process ends too")
        log_writer.flush()
        os._exit(EXIT_FAILED)

    def _sigterm(self) -> None:
        # Meant for us alone, or for the whole service? However busy this machine is, the supervisor knows.
        if not self._stopping:
            self._tell(MayEnd())

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
    # First: setproctitle finds the place of the title by the environment that the process began with.
    setproctitle.setproctitle(start_args.title or start_args.name)
    os.environ.update(start_args.environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the supervisor stops us in order
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the forkserver ignores it, and we come from there
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))  # if it still imports
    # What has been imported stays. So no collection looks through it, and its memory stays shared.
    gc.freeze()
    gc.enable()  # see `uncollected.py`
    configure_log(start_args.name, start_args.log_level, start_args.log_format)
    signals.watch(_hangup)
    control: ControlPipe[ChildInbox] = ControlPipe(end_of(connection), ChildInbox)
    try:
        code = _live(start_args, control)
    except Exception as error:  # whatever it is, it ends this process in words
        code = getattr(error, "exit_code", EXIT_FAILED)
        if hasattr(error, "exit_code"):
            log.error("%s", error)
        else:
            log.exception("stopped by a bug")
    # Not sys.exit: a worker thread that hangs in a write must not keep a process that is done.
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or never open
        sys.stdout.flush()
    log_writer.flush()
    os._exit(code)


def _hangup() -> None:
    log.info("SIGHUP is for the supervisor, which has all children read their files again: ignored")


def _live(start_args: StartArgs, control: ControlPipe[ChildInbox]) -> int:
    kind: type[Actor[Any, Any]] = pkgutil.resolve_name(start_args.start)
    loop: Loop
    if kind.needs_asyncio:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    else:
        loop = PlainLoop()
    return ActorHost(start_args, control, loop, kind).run()
