"""An actor, and what it has of its process. Subclass `Actor` for each kind of child.

An actor is told when a peer's link is there and when it is lost. An exception in it ends the process with a
traceback and code 1; an exception with an `exit_code` ends it with that code and one line.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

from .loop import Timer
from .mailbox import Inbox
from .protocol import Ready

Options = TypeVar("Options")
Result = TypeVar("Result")


class StartArgs(msgspec.Struct, frozen=True):
    """What a child process is started with.

    `start` is "module:class" of its actor. `options` is the actor's own: anything that can be pickled.
    `title` is what `ps` shows. `environment`: its variables, by name. `last_stats`: what `stats` of an
    earlier incarnation returned last, b"" if that is not known. `orders`: see `Worker.instruct`.
    `log_format`: a `LogFormat`.
    """

    id: str
    incarnation: int
    start: str
    options: Any = None
    log_level: str = "INFO"
    title: str = ""
    environment: dict[str, str] = {}
    last_stats: bytes = b""
    orders: bytes = b""
    log_format: str = "text"

    @property
    def is_first(self) -> bool:
        """Whether it is the child's first incarnation since the service started."""
        return self.incarnation == 1

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

    def guarded(self, done: Callable[[Result], None]) -> Callable[[Result], None]:
        """The same function, for others to call: what it raises ends the process."""

    def send(self, peer: str, message: msgspec.Struct) -> None:
        """Put a message into a peer's mailbox; dropped when there is no link to it."""

    def cork(self) -> None:
        """Hold back what is sent from now on, as TCP_CORK does: several messages cost one write."""

    def uncork(self) -> None:
        """Write what was held back."""

    def peers(self) -> Collection[str]:
        """The peers to which a link is there now."""

    def link_name(self, peer: str) -> str:
        """A linked peer with its incarnation, for the log."""

    def say_loading(self, done: int, total: int, what: str) -> None:
        """Tell the supervisor how far `init` is, as often as you like: `done` of `total` (0: not known).

        A child that gets on is not taken for hung, however long `init` takes. `what` is counted: "rows", say.
        """

    def say_resumed(self, note: str = "") -> None:
        """Tell the supervisor that this does its work; said once, the first time it is called."""

    def say_stats(self) -> None:
        """Tell the supervisor what `Actor.stats` says now. It asks only every two seconds."""

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
        """Take what is needed. The child counts as started when this returns.

        It has `START_TIMEOUT_S` of `worker.py`, and longer for as long as it calls `host.say_loading`.
        """
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

    def handle_call(self, request: bytes, reply: Callable[[bytes], None]) -> None:
        """A request from outside of the tree, as OTP's handle_call. Call `reply` once, now or later.

        Orders come as a request too, if they change while this runs: see `Worker.instruct`.
        """
        raise AssertionError(f"{self.start_args.id} takes no calls")

    def survives(self, error: BaseException) -> bool:
        """Whether this goes on after an exception that nobody waited for; else it ends the process."""
        return isinstance(error, ConnectionError)

    def drain(self) -> None:
        """Finish what is held, take nothing new, then call `host.say_drained`."""
        self.host.say_drained()

    def reload(self) -> None:
        """Read again the files that the options name and that may change while this runs."""

    async def terminate(self) -> None:
        """The last call before the process ends in order."""
