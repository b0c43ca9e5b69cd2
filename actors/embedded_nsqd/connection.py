"""One client's TCP connection: reads commands, keeps the protocol's state, notices a client that is gone.

The rules are those of nsqd/protocol_v2.go. `answers.py` owns the order of the answers. `edge.py` changes
topics and channels.
"""

import asyncio
import logging
from typing import assert_never

from ..system.connections import connections_max
from ..system.crowd import most_of
from ..system.http_server import FIRST_REQUEST_TIMEOUT_S
from . import commands, frames, identify, limits
from .answers import Answers
from .edge import Edge
from .journal_file import JournalError
from .multi import Refused
from .pulse import Pulse
from .states import ClientState
from .subscriber import Subscriber
from .topic import Subscription

log = logging.getLogger(__name__)

# A connection that is being closed has this long to take its last answer.
CLOSE_GRACE_MS = 5_000
GREETING_TIMEOUT_MS = FIRST_REQUEST_TIMEOUT_S * 1000  # an NSQ client says at once that it is one


class ClientConnection(asyncio.Protocol):
    """One client, from its connection to its end. Implements `ConnectedClient`."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._parser = commands.CommandParser()
        self._greeting = b""
        self._is_joined = True
        self._pulse = Pulse(edge.now_ms())
        self._closing_ms: int | None = None
        self.state = ClientState.INIT
        self.remote_address = ""
        self.connect_s = 0
        self.agreement = identify.Agreement("", "")
        self.publish_counts: dict[str, int] = {}
        self.subscription: Subscription | None = None  # from SUB on

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # every socket's transport is one
        self._transport = transport
        self._answers = Answers(transport)
        host, port = transport.get_extra_info("peername")[:2]
        self.remote_address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.agreement = identify.Agreement(client_id=host, hostname=host)
        self.connect_s = self._edge.now_wall_ns() // 1_000_000_000
        if len(self._edge.connections) < connections_max() or self._makes_room():
            self._edge.enter(self)
        else:
            self.close()
            transport.abort()

    def data_received(self, chunk: bytes) -> None:
        if self._closing_ms is not None:
            return
        self._pulse.read_ms = self._edge.now_ms()
        if len(self._greeting) < len(commands.MAGIC):
            chunk = self._greet(chunk)
        self._answers.begin_read()
        received = self._parser.feed(chunk)
        for command in received:
            self._handle(command)
            if self._closing_ms is not None:
                break
        self._answers.end_read()
        if self._closing_ms is not None:
            return
        self._note_progress(bool(received))
        if self.subscription is not None:
            self._edge.pump(self.subscription.topic, self.subscription.channel)

    def pause_writing(self) -> None:
        self._pulse.blocked_ms = self._edge.now_ms()
        self._update_writable()

    def resume_writing(self) -> None:
        self._pulse.blocked_ms = None
        self._answers.resume_reading()
        self._update_writable()

    def connection_lost(self, error: Exception | None) -> None:
        reason = f": {error}" if error else ""
        if self._greeting == commands.MAGIC:
            log.info("client %s: disconnected%s", self.remote_address, reason, extra=self._edge.about)
        self._closing_ms = self._closing_ms or self._edge.now_ms()
        self._edge.leave(self)

    # What the server calls.

    def send(self, message_frames: list[bytes]) -> None:
        """See `ConnectedClient`; nothing is sent once the connection is being closed."""
        if self._closing_ms is None:
            self._answers.send_messages(message_frames)

    def settle(self, failure: JournalError | None) -> None:
        """See `CommitWaiter`; a failure ends the connection."""
        self._is_joined = True
        if not self._answers.release(failure):
            self.close()
            return
        if self._closing_ms is not None:
            self._end()
        self._update_writable()

    def scan(self, now_ms: int) -> None:
        """See `ConnectedClient`."""
        if self._closing_ms is not None:
            if now_ms - self._closing_ms > CLOSE_GRACE_MS:
                self._transport.abort()
        elif self._greeting != commands.MAGIC and now_ms - self._pulse.read_ms > GREETING_TIMEOUT_MS:
            self._warn("greeting", f"closed, because it sent no {commands.MAGIC!r} of an NSQ client")
            self.close()
        elif reason := self._pulse.late_with(now_ms, self.agreement.heartbeat_interval_ms):
            self.abort(reason)
        elif self._pulse.beat(now_ms, self.agreement.heartbeat_interval_ms):
            self._answers.send(frames.HEARTBEAT)

    def excuse(self, stall_ms: int) -> None:
        """See `ConnectedClient`."""
        self._pulse.excuse(stall_ms)

    def give_way(self) -> None:
        """See `Upload`."""
        held = f"the unfinished commands of all clients hold more than {limits.UPLOADS_BYTES_MAX} bytes"
        self._fail("E_INVALID", f"{held}, and this one is the oldest")

    def make_room(self) -> None:
        """See `ConnectedClient`."""
        self.close()
        self._transport.abort()
        self._edge.leave(self)

    def close(self) -> None:
        """See `ConnectedClient`; answers that wait for a commit still go out."""
        self._closing_ms = self._edge.now_ms()
        self._parser = commands.CommandParser()
        self._edge.uploads.end(self)
        self._update_writable()
        if not self._answers.is_held():
            self._end()

    def abort(self, reason: str) -> None:
        """See `ConnectedClient`."""
        log.warning("client %s: dropped, because it %s", self.remote_address, reason, extra=self._edge.about)
        self.close()
        self._transport.abort()

    def _makes_room(self) -> bool:
        """Close the connection that gives way to this one. Returns False if none does."""
        clients = self._edge.connections
        first = self._edge.room.first_to_go()
        full = f"{len(clients)} connections are open, the most that are taken"
        hosts = [one.remote_address.rpartition(":")[0] for one in clients]
        gone = "the one that has been idle longest" if first else "this one"
        self._warn("full", f"{full}, {most_of(hosts)}; {gone} is closed")
        if first is not None:
            first.make_room()
        return first is not None

    def _note_progress(self, has_received: bool) -> None:
        """Note what the connection does and holds. `has_received`: whether it has sent whole commands."""
        if has_received:
            self._edge.room.act(self, is_subscribed=self.subscription is not None)
            self._edge.uploads.end(self)
            self._pulse.unfinished_ms = None
        if self._parser.held_bytes:
            if self._pulse.unfinished_ms is None:
                self._pulse.unfinished_ms = self._edge.now_ms()
            self._edge.uploads.hold(self, self._parser.held_bytes)

    # The protocol.

    def _greet(self, chunk: bytes) -> bytes:
        missing = len(commands.MAGIC) - len(self._greeting)
        self._greeting += chunk[:missing]
        if self._greeting == commands.MAGIC:
            log.info("client %s: connected", self.remote_address, extra=self._edge.about)
        elif len(self._greeting) == len(commands.MAGIC):
            what = f"bad magic {self._greeting!r}, expected {commands.MAGIC!r} of an NSQ client"
            self._warn("magic", f"{what}; HTTP is at port {self._edge.http_port}")
            self._answers.add(frames.BAD_PROTOCOL)
            self.close()
            return b""
        return chunk[missing:]

    def _handle(self, command: commands.Command) -> None:
        match command:
            case commands.FinishMessages():
                self._finish(command.ids)
            case commands.PublishMessages():
                self._publish(command)
            case commands.SetReady():
                subscription = self._subscribed("RDY")
                # nsqd ignores a change of RDY after CLS.
                if subscription is not None and self.state is ClientState.SUBSCRIBED:
                    subscription.subscriber.ready_count = command.count
            case commands.RequeueMessage():
                self._requeue(command)
            case commands.TouchMessage():
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
            self.agreement, answer = identify.identify(self.agreement, body)
        except Refused as refused:
            self._fail(refused.code, refused.description)
            return
        self._pulse.beat_ms = self._edge.now_ms()
        self._answers.add(frames.response(answer))

    def _subscribe(self, command: commands.Subscribe) -> None:
        if not self._may("SUB"):
            return
        subscriber = Subscriber(self.agreement.message_timeout_ms, self.agreement.sample_rate)
        try:
            self.subscription = self._edge.join(self, subscriber, command.topic, command.channel)
        except JournalError as error:
            self._fail("E_SUB_FAILED", f"SUB failed {error}")
            return
        self.state = ClientState.SUBSCRIBED
        self._answers.add(frames.OK)
        # If that OK waits behind a publish, no message may be sent before it.
        self._is_joined = not self._answers.is_held()
        self._update_writable()

    def _publish(self, command: commands.PublishMessages) -> None:
        try:
            self._edge.stage(self, command.topic, command.bodies, command.delay_ms)
        except JournalError as error:
            self._fail(f"E_{command.verb}_FAILED", f"{command.verb} failed {error}")
            return
        count = self.publish_counts.get(command.topic, 0)
        self.publish_counts[command.topic] = count + len(command.bodies)
        self._answers.add_at_commit(command.verb)
        self._edge.stage_done()

    def _finish(self, ids: list[bytes]) -> None:
        subscription = self._subscribed("FIN")
        if subscription is None:
            return
        failures = subscription.channel.finish(subscription.subscriber, ids)
        self._edge.finished()
        for id, reason in failures:
            self._complain("FIN", id, reason)

    def _requeue(self, command: commands.RequeueMessage) -> None:
        subscription = self._subscribed("REQ")
        if subscription is None:
            return
        now_ms = self._edge.now_ms()
        subscriber = subscription.subscriber
        reason = subscription.channel.requeue(subscriber, command.id, command.delay_ms, now_ms)
        if reason is not None:
            self._complain("REQ", command.id, reason)

    def _touch(self, id: bytes) -> None:
        subscription = self._subscribed("TOUCH")
        if subscription is None:
            return
        reason = subscription.channel.touch(subscription.subscriber, id, self._edge.now_ms())
        if reason is not None:
            self._complain("TOUCH", id, reason)

    def _start_close(self) -> None:
        subscription = self._subscribed("CLS")
        if subscription is None:
            return
        subscription.subscriber.ready_count = 0
        self.state = ClientState.CLOSING
        self._answers.add(frames.CLOSE_WAIT)

    def _refuse(self, refusal: commands.Refusal) -> None:
        if not refusal.code:
            self._warn("refusal", refusal.description)
            self.close()
        elif self._may(refusal.verb):
            self._fail(refusal.code, refusal.description)

    def _may(self, verb: str) -> bool:
        """Whether the client may use the command now. If not, it gets an error and is disconnected."""
        if not self.state.allows(verb):
            self._fail("E_INVALID", f"cannot {verb} in current state")
        elif verb == "SUB" and not self.agreement.heartbeat_interval_ms:
            self._fail("E_INVALID", "cannot SUB with heartbeats disabled")
        else:
            return True
        return False

    def _subscribed(self, verb: str) -> Subscription | None:
        """The subscription, or None if the state forbids the command. `verb`: one allowed only after SUB."""
        return self.subscription if self._may(verb) else None

    def _fail(self, code: str, description: str) -> None:
        """Answer with an error and disconnect."""
        self._warn(code, f"{code} {description}")
        self._answers.add(frames.error(f"{code} {description}"))
        self.close()

    def _warn(self, kind: str, text: str) -> None:
        self._edge.seldom.warn(kind, f"client {self.remote_address}: {text}", self._edge.now_ms())

    def _complain(self, verb: str, id: bytes, reason: str) -> None:
        """Answer with an error; the connection stays open."""
        text = id.decode("utf-8", "surrogateescape")
        self._answers.add(frames.error(f"E_{verb}_FAILED {verb} {text} failed {reason}"))

    def _update_writable(self) -> None:
        """Decide whether the client can be given messages. No other method decides it."""
        if self.subscription is None:
            return
        topic, channel, subscriber = self.subscription
        was_writable = subscriber.is_writable
        subscriber.is_writable = (
            self._is_joined and self._pulse.blocked_ms is None and self._closing_ms is None
        )
        if subscriber.is_writable and not was_writable:
            self._edge.pump(topic, channel)

    def _end(self) -> None:
        self._answers.flush()
        self._transport.close()
