"""One client's TCP connection: reads commands, keeps the protocol's state, sends frames.

Owns the order of answers: an OK for a publish waits for the commit, and every answer after it
on the same connection waits behind it. Owns the limits of the client's socket buffer too. What a
command means to topics and channels is the server's business.
"""

import asyncio
import enum
import logging
from typing import TYPE_CHECKING, assert_never

from ..system.connections import connections_max
from . import commands, frames, identify, limits
from .journal_file import JournalError
from .subscriber import Subscriber
from .topic import Subscription

if TYPE_CHECKING:
    from .server import EmbeddedNsqd

logger = logging.getLogger(__name__)

# A connection that is being closed has this long to take its last answer.
CLOSE_GRACE_MS = 5_000


class State(enum.IntEnum):
    """With nsqd's numbers, which /stats shows."""

    INIT = 0
    SUBSCRIBED = 3
    CLOSING = 4


_CAN_FINISH = (State.SUBSCRIBED, State.CLOSING)
_ALLOWED = {  # the states in which a command may be used; any, where it is not listed
    "IDENTIFY": (State.INIT,),
    "AUTH": (State.INIT,),
    "SUB": (State.INIT,),
    "RDY": _CAN_FINISH,
    "FIN": _CAN_FINISH,
    "REQ": _CAN_FINISH,
    "TOUCH": _CAN_FINISH,
    "CLS": (State.SUBSCRIBED,),
}


class Connection(asyncio.Protocol):
    def __init__(self, server: "EmbeddedNsqd") -> None:
        self._server = server
        self._parser = commands.CommandParser()
        self._greeting = b""
        self._held: list[bytes | str] | None = None
        self._together: list[bytes] | None = None  # while a read is handled, what its commands write
        self._reading_paused = False
        self._is_joined = True
        self._blocked_ms: int | None = None
        self._closing_ms: int | None = None
        self._read_ms = self._beat_ms = 0
        self.state = State.INIT
        self.remote_address = ""
        self.connect_s = 0
        self.settings = identify.Settings("", "")
        self.publish_counts: dict[str, int] = {}
        self.subscription: Subscription | None = None  # from SUB on

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # a socket's is one
        self._transport = transport
        host, port = transport.get_extra_info("peername")[:2]
        self.remote_address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.settings = identify.Settings(client_id=host, hostname=host)
        self.connect_s = self._server.now_wall_ns() // 1_000_000_000
        self._read_ms = self._beat_ms = self._server.now_ms()
        transport.set_write_buffer_limits(high=limits.WRITE_BUFFER_MAX)
        self._server.connections.add(self)
        logger.info("client %s: connected", self.remote_address)
        if len(self._server.connections) > connections_max():
            self.abort(f"comes when there are {connections_max()} already")

    def data_received(self, chunk: bytes) -> None:
        if self._closing_ms is not None:
            return
        self._read_ms = self._server.now_ms()
        if len(self._greeting) < len(commands.MAGIC):
            chunk = self._greet(chunk)
        # Answers of one read leave in one write: asyncio's work for each grows with those that wait.
        self._together = []
        for command in self._parser.feed(chunk):
            self._handle(command)
            if self._closing_ms is not None:
                break
        self._write_together()
        self._together = None
        if self._closing_ms is not None:
            return
        if self.subscription is not None:
            self._server.pump(self.subscription.topic, self.subscription.channel)

    def pause_writing(self) -> None:
        self._blocked_ms = self._server.now_ms()
        self._update_writable()

    def resume_writing(self) -> None:
        self._blocked_ms = None
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        self._update_writable()

    def connection_lost(self, error: Exception | None) -> None:
        reason = f": {error}" if error else ""
        logger.info("client %s: disconnected%s", self.remote_address, reason)
        self._closing_ms = self._closing_ms or self._server.now_ms()
        self._server.connections.discard(self)
        self._server.leave(self)

    # What the server calls.

    def send(self, message_frames: list[bytes]) -> None:
        """Messages."""
        if self._closing_ms is None:
            self._write_together()
            only = len(message_frames) == 1
            self._transport.write(message_frames[0] if only else b"".join(message_frames))

    def settle(self, failure: JournalError | None) -> None:
        """The commit that its publishes waited for has been made, or failed."""
        held, self._held = self._held or [], None
        self._is_joined = True
        answers = []
        for answer in held:
            if isinstance(answer, bytes):
                answers.append(answer)
            elif failure is None:
                answers.append(frames.OK)
            else:
                text = f"E_{answer}_FAILED {answer} failed {failure}"
                self._write(b"".join([*answers, frames.error(text)]))
                self.close()
                return
        self._write(b"".join(answers))
        if self._closing_ms is not None:
            self._end()
        self._update_writable()

    def scan(self, now_ms: int) -> None:
        """Sends a heartbeat when one is due; gives up on a client that is not there."""
        interval_ms = self.settings.heartbeat_interval_ms
        if self._closing_ms is not None:
            if now_ms - self._closing_ms > CLOSE_GRACE_MS:
                self._transport.abort()
            return
        if not interval_ms:
            return
        if now_ms - self._read_ms > 2 * interval_ms:
            self.abort("answers no heartbeat")
        elif self._blocked_ms is not None and now_ms - self._blocked_ms > interval_ms:
            self.abort("does not read what it is sent")
        elif now_ms - self._beat_ms >= interval_ms:
            self._beat_ms = now_ms
            self._write(frames.HEARTBEAT)

    def close(self) -> None:
        """Ends the connection once what was written has gone out."""
        self._closing_ms = self._server.now_ms()
        self._update_writable()
        if self._held is None:
            self._end()

    def abort(self, reason: str) -> None:
        logger.warning("client %s: dropped, it %s", self.remote_address, reason)
        self.close()
        self._transport.abort()

    # The protocol.

    def _greet(self, chunk: bytes) -> bytes:
        missing = len(commands.MAGIC) - len(self._greeting)
        self._greeting += chunk[:missing]
        if len(self._greeting) == len(commands.MAGIC) and self._greeting != commands.MAGIC:
            logger.warning("client %s: bad magic %r", self.remote_address, self._greeting)
            self._answer(frames.BAD_PROTOCOL)
            self.close()
            return b""
        return chunk[missing:]

    def _handle(self, command: commands.Command) -> None:
        match command:
            case commands.Finish():
                self._finish(command.ids)
            case commands.Publish():
                self._publish(command)
            case commands.Ready():
                subscription = self._subscribed("RDY")
                # nsqd ignores a change of RDY after CLS.
                if subscription is not None and self.state is State.SUBSCRIBED:
                    subscription.subscriber.ready_count = command.count
            case commands.Requeue():
                self._requeue(command)
            case commands.Touch():
                self._touch(command.id)
            case commands.Nothing():
                pass
            case commands.Subscribe():
                self._subscribe(command)
            case commands.Identify():
                self._identify(command.body)
            case commands.StartClose():
                self._start_close()
            case commands.Authenticate():
                if self._may("AUTH"):
                    self._fail("E_AUTH_DISABLED", "AUTH disabled")
            case commands.Refusal():
                self._refuse(command)
            case _:
                assert_never(command)

    def _identify(self, body: bytes) -> None:
        if not self._may("IDENTIFY"):
            return
        try:
            self.settings, answer = identify.identify(self.settings, body)
        except identify.IdentifyRefused as refused:
            self._fail("E_BAD_BODY", str(refused))
            return
        self._beat_ms = self._server.now_ms()
        self._answer(frames.response(answer))

    def _subscribe(self, command: commands.Subscribe) -> None:
        if not self._may("SUB"):
            return
        if not self.settings.heartbeat_interval_ms:
            self._fail("E_INVALID", "cannot SUB with heartbeats disabled")
            return
        subscriber = Subscriber(self.settings.message_timeout_ms, self.settings.sample_rate)
        try:
            self.subscription = self._server.join(self, subscriber, command.topic, command.channel)
        except JournalError as error:
            self._fail("E_SUB_FAILED", f"SUB failed {error}")
            return
        self.state = State.SUBSCRIBED
        self._answer(frames.OK)
        # Where that OK is held behind a publish, no message may overtake it.
        self._is_joined = self._held is None
        self._update_writable()

    def _publish(self, command: commands.Publish) -> None:
        try:
            self._server.stage(self, command.topic, command.bodies, command.delay_ms)
        except JournalError as error:
            self._fail(f"E_{command.verb}_FAILED", f"{command.verb} failed {error}")
            return
        count = self.publish_counts.get(command.topic, 0)
        self.publish_counts[command.topic] = count + len(command.bodies)
        if self._held is None:
            self._held = []
        self._held.append(command.verb)
        self._server.stage_done()

    def _finish(self, ids: list[bytes]) -> None:
        subscription = self._subscribed("FIN")
        if subscription is None:
            return
        failures = subscription.channel.finish(subscription.subscriber, ids)
        self._server.finished()
        for id, reason in failures:
            self._complain("FIN", id, reason)

    def _requeue(self, command: commands.Requeue) -> None:
        subscription = self._subscribed("REQ")
        if subscription is None:
            return
        now_ms = self._server.now_ms()
        subscriber = subscription.subscriber
        reason = subscription.channel.requeue(subscriber, command.id, command.delay_ms, now_ms)
        if reason is not None:
            self._complain("REQ", command.id, reason)

    def _touch(self, id: bytes) -> None:
        subscription = self._subscribed("TOUCH")
        if subscription is None:
            return
        reason = subscription.channel.touch(subscription.subscriber, id, self._server.now_ms())
        if reason is not None:
            self._complain("TOUCH", id, reason)

    def _start_close(self) -> None:
        subscription = self._subscribed("CLS")
        if subscription is None:
            return
        subscription.subscriber.ready_count = 0
        self.state = State.CLOSING
        self._answer(frames.CLOSE_WAIT)

    def _refuse(self, refusal: commands.Refusal) -> None:
        if not refusal.code:
            logger.warning("client %s: %s", self.remote_address, refusal.description)
            self.close()
        elif self._may(refusal.verb):
            self._fail(refusal.code, refusal.description)

    def _may(self, verb: str) -> bool:
        """Whether the state allows the command; where not, the client is told and let go."""
        allowed = _ALLOWED.get(verb)
        if allowed is None or self.state in allowed:
            return True
        self._fail("E_INVALID", f"cannot {verb} in current state")
        return False

    def _subscribed(self, verb: str) -> Subscription | None:
        """What the command is for, where the state allows it; it must be one that only comes after SUB."""
        return self.subscription if self._may(verb) else None

    def _fail(self, code: str, description: str) -> None:
        """A fatal error."""
        logger.warning("client %s: %s %s", self.remote_address, code, description)
        self._answer(frames.error(f"{code} {description}"))
        self.close()

    def _complain(self, verb: str, id: bytes, reason: str) -> None:
        """An error that the connection survives."""
        text = id.decode("utf-8", "surrogateescape")
        self._answer(frames.error(f"E_{verb}_FAILED {verb} {text} failed {reason}"))

    def _update_writable(self) -> None:
        """The one place that says whether the client can be given messages."""
        if self.subscription is None:
            return
        topic, channel, subscriber = self.subscription
        was_writable = subscriber.is_writable
        subscriber.is_writable = self._is_joined and self._blocked_ms is None and self._closing_ms is None
        if subscriber.is_writable and not was_writable:
            self._server.pump(topic, channel)

    def _answer(self, frame: bytes) -> None:
        if self._held is not None:
            self._held.append(frame)
        else:
            self._write(frame)

    def _end(self) -> None:
        self._write_together()
        self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._together is not None:
            self._together.append(data)
        else:
            self._put(data)

    def _write_together(self) -> None:
        if self._together:
            self._put(b"".join(self._together))
            self._together.clear()

    def _put(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(data)
        # Messages stop at WRITE_BUFFER_MAX; only answers that nobody reads come this far.
        waiting = self._transport.get_write_buffer_size()
        if waiting > limits.ANSWER_BUFFER_MAX and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()
