"""A publish as one message on an NSQ topic; nsqd's OK to the PUB confirms it.

On plain streams, as `http.py` is and for the same reason: pynsq's Writer doesn't tell what was never
sent from what may have been taken. Heartbeats are switched off, since only who subscribes needs them: a
connection that died in between shows at the next PUB.
"""

import asyncio
import json
import struct
from collections.abc import Callable

from nsq import protocol

from ..core.dispatcher.attempts import Outcome
from ..core.dispatcher.outbox import Batch, payload
from ..system.exits import Failure
from .answers import first_line
from .delivery import Delivery
from .route import Connection, reason_of

FRAME_BYTES_MAX = 64 * 1024  # nsqd's answers are a few bytes, its longest the one to IDENTIFY
IDENTITY = {
    "client_id": "playtally",
    "user_agent": "playtally",
    "feature_negotiation": True,
    "heartbeat_interval": -1,
}


class NotNsqd(ValueError):
    """What answers is no nsqd."""


class NsqSink:
    """PUBs a batch to an nsqd; the connection is kept for the next."""

    def __init__(self, topic: str, timeout_s: float, locate: Callable[[], list[str]]):
        """`locate`: the "host:port" of every nsqd, one or more; may block. Raises `Failure`, `OSError`."""
        self.name = f"NSQ topic {topic}"
        self._topic = topic
        self._timeout_s = timeout_s
        self._locate = locate
        self._kept: Connection | None = None

    async def deliver(self, batch: Batch) -> Delivery:
        """Send a batch once."""
        ends_s = asyncio.get_running_loop().time() + self._timeout_s
        kept, self._kept = self._kept, None
        if kept is not None and not kept.usable:
            kept.close()
            kept = None
        try:
            async with asyncio.timeout_at(ends_s):
                connection = kept or await self._connect()
        except TimeoutError:
            return Delivery(Outcome.REFUSED, f"no nsqd answered within {self._timeout_s:g} s")
        except (Failure, OSError, EOFError, ValueError) as error:
            return Delivery(Outcome.REFUSED, reason_of(error))
        try:
            connection.writer.write(protocol.pub(self._topic, json.dumps(payload(batch)).encode()))
            async with asyncio.timeout_at(ends_s):
                kind, told = await _read_frame(connection)
        except TimeoutError:
            return self._unknown(connection, f"no answer within {self._timeout_s:g} s")
        except (OSError, EOFError, ValueError) as error:
            return self._unknown(connection, f"no answer: {reason_of(error)}")
        if kind == protocol.FRAME_TYPE_RESPONSE and told == b"OK":
            self._kept = connection
            return Delivery(Outcome.ACCEPTED)
        connection.close()  # nsqd closes it too after an error of this kind
        return Delivery(Outcome.REFUSED, f"nsqd answered {first_line(told)}")

    async def reach(self) -> None:
        """Connect and say who we are, and publish nothing."""
        try:
            (await self._connect()).close()
        except (EOFError, ValueError, Failure) as error:
            raise OSError(reason_of(error)) from error

    async def flush(self, timeout_s: float) -> None:
        """Nothing: what was delivered has been answered."""

    def close(self) -> None:
        """Close the connection that is kept."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _unknown(self, connection: Connection, why: str) -> Delivery:
        connection.close()
        return Delivery(Outcome.UNKNOWN, why)

    async def _connect(self) -> Connection:
        """To the first nsqd that answers. Raises why the last of them does not."""
        failed: Exception = OSError("there is no nsqd")
        for address in await asyncio.to_thread(self._locate):
            try:
                return await _greeted(address)
            except (OSError, EOFError, ValueError) as error:
                failed = OSError(f"nsqd {address}: {reason_of(error)}")
        raise failed


async def _greeted(address: str) -> Connection:
    host, _, port = address.rpartition(":")
    connection = Connection(*await asyncio.open_connection(host.strip("[]"), int(port)))
    try:
        connection.writer.write(protocol.MAGIC_V2 + protocol.identify(IDENTITY))
        kind, told = await _read_frame(connection)
        if kind != protocol.FRAME_TYPE_RESPONSE:
            raise NotNsqd(f"it answered {first_line(told)}")
        return connection
    except BaseException:
        connection.close()
        raise


async def _read_frame(connection: Connection) -> tuple[int, bytes]:
    """One frame: its kind and what it says. Raises `EOFError`, `OSError`, `NotNsqd`."""
    size = int.from_bytes(await connection.reader.readexactly(4), "big")
    if not 4 <= size <= FRAME_BYTES_MAX:
        raise NotNsqd("what answers there is no nsqd; expected its TCP port, often 4150")
    kind, told = struct.unpack(f">l{size - 4}s", await connection.reader.readexactly(size))
    return kind, told
