"""Sends one client its answers, in order, and its messages, within the limits of its socket buffer.

Promises that the OK for a publish waits for the commit, that every later answer waits behind it, and that
the answers to one read leave in one write. Knows frames and bytes, not commands.
"""

import asyncio

from . import frames, limits
from .journal_file import JournalError


class Answers:
    """The sending side of one connection.

    `is_reading_paused`: the client does not read its answers, so nothing more is read from it.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=limits.WRITE_BUFFER_MAX)
        self.is_reading_paused = False
        self._transport = transport
        self._held: list[bytes | str] = []  # frames, and the verb of each publish that waits for its commit
        self._is_gathering = False
        self._gathered: list[bytes] = []

    def is_held(self) -> bool:
        """Whether answers wait for a commit."""
        return bool(self._held)

    def add(self, frame: bytes) -> None:
        """Send an answer now, or after the answers that wait for a commit."""
        if self._held:
            self._held.append(frame)
        else:
            self.send(frame)

    def add_at_commit(self, verb: str) -> None:
        """Keep the answer to a publish until `release`. `verb` names the command in its error."""
        self._held.append(verb)

    def release(self, failure: JournalError | None) -> bool:
        """Send the answers that waited for the commit. Returns False if one of the publishes failed.

        `failure`: the error of the commit, or None. The first failed publish is answered with nsqd's error,
        and the answers after it are not sent.
        """
        held, self._held = self._held, []
        answers = []
        is_committed = True
        for answer in held:
            if isinstance(answer, bytes):
                answers.append(answer)
            elif failure is None:
                answers.append(frames.OK)
            else:
                answers.append(frames.error(f"E_{answer}_FAILED {answer} failed {failure}"))
                is_committed = False
                break
        self.send(b"".join(answers))
        return is_committed

    def send(self, data: bytes) -> None:
        """Send frames at once, or together with the other answers to this read."""
        if self._is_gathering:
            self._gathered.append(data)
        else:
            self._write(data)

    def send_messages(self, message_frames: list[bytes]) -> None:
        """Send messages at once, behind the answers gathered so far."""
        self.flush()
        self._transport.write(b"".join(message_frames))

    def begin_read(self) -> None:
        """Gather answers until `end_read`, because each write costs asyncio more the more writes wait."""
        self._is_gathering = True

    def end_read(self) -> None:
        """Send what was gathered in one write."""
        self.flush()
        self._is_gathering = False

    def flush(self) -> None:
        """Write what was gathered so far."""
        if self._gathered:
            self._write(b"".join(self._gathered))
            self._gathered.clear()

    def resume_reading(self) -> None:
        """The client has read its answers: read from it again."""
        if self.is_reading_paused:
            self.is_reading_paused = False
            self._transport.resume_reading()

    def _write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(data)
        # No message is sent above WRITE_BUFFER_MAX, so only unread answers can fill the buffer this far.
        waiting = self._transport.get_write_buffer_size()
        if waiting > limits.ANSWER_BUFFER_MAX and not self.is_reading_paused:
            self.is_reading_paused = True
            self._transport.pause_reading()
