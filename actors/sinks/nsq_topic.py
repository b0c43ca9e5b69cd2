"""An NSQ topic: one message per batch. nsqd's OK to the PUB accepts it.

It must tell a batch that was never sent from one that may have been taken. Heartbeats are switched off,
because only subscribers need them: the next PUB notices a dead connection.
"""

import asyncio
import contextlib
import json

from nsq import protocol

from ..core.dispatcher.attempts import About, Outcome
from ..core.dispatcher.outbox import Batch, payload
from ..sources.client import NsqdClient
from ..sources.discovery import Publishable
from ..sources.security import PLAIN, Security, explained, is_refusal
from ..system.reasons import reason_of
from .answers import first_line, fit_for_log
from .delivery import Delivery, Sink

GREETING_TIMEOUT_S = 2.0  # at most, for one nsqd of several, until it has answered IDENTIFY
# By nsqd's error code. nsqd refuses a message for its bytes alone, never for the videos in it.
ABOUT = {
    b"E_BAD_MESSAGE": About.WIDTH,
    b"E_BAD_TOPIC": About.EVERYTHING,
    b"E_UNAUTHORIZED": About.EVERYTHING,
    b"E_AUTH_FIRST": About.EVERYTHING,
    b"E_AUTH_FAILED": About.EVERYTHING,
}
CODE_BYTES_MAX = 30  # nsqd's longest error code has 20
IDENTITY = {"heartbeat_interval": -1}


class NsqSink(Sink):
    """PUBs batches to an nsqd, one after the other on one connection, so that they stay in order.

    If that nsqd is gone, hangs or is tombstoned, the next batch goes to another one.
    """

    settings = "publish.nsq_topic, nsq.auth_secret_env and nsq.auth_secret_file"

    def __init__(self, topic: str, timeout_s: float, nsqds: Publishable, security: Security = PLAIN):
        """`nsqds`: those to publish on. The sink starts to ask for them with its first batch."""
        self.name = self.receiver = f"NSQ topic {topic}"
        self._topic = topic
        self._timeout_s = timeout_s
        self._nsqds = nsqds
        self._security = security
        self._asking: asyncio.Task[None] | None = None
        self._failed: list[str] = []  # the addresses that failed since they last worked, the last one last
        self._kept: NsqdClient | None = None
        self._turn = asyncio.Lock()

    async def deliver(self, batch: Batch, held_up_ms: int = 0) -> Delivery:
        """Send a batch once, after those before it. The time-out begins when its turn comes."""
        async with self._turn:
            return await self._deliver(batch)

    async def _deliver(self, batch: Batch) -> Delivery:
        ends_s = asyncio.get_running_loop().time() + self._timeout_s
        kept, self._kept = self._kept, None
        if kept is not None and (not kept.usable or kept.address in self._nsqds.tombstoned):
            kept.close()
            kept = None
        try:
            async with asyncio.timeout_at(ends_s):
                connection = kept or await self._connect()
        except TimeoutError:
            return Delivery(Outcome.REFUSED, f"no nsqd answered within {self._timeout_s:g} s")
        except (OSError, EOFError, ValueError) as error:
            return Delivery(Outcome.REFUSED, reason_of(error))
        try:
            connection.write(protocol.pub(self._topic, json.dumps(payload(batch)).encode()))
            async with asyncio.timeout_at(ends_s):
                kind, told = await connection.read_frame()
            if kind == protocol.FRAME_TYPE_RESPONSE and told == b"OK":
                self._kept = connection
                return Delivery(Outcome.ACCEPTED, status="OK")
            words = first_line(told)
            about = ABOUT.get(told.split(b" ", 1)[0], About.MOMENT)
            why = explained(told) if is_refusal(told) else f"nsqd answered {words}"
            code = fit_for_log(told.split(b" ", 1)[0][:CODE_BYTES_MAX].decode("utf-8", "replace"))
            return Delivery(Outcome.REFUSED, why, about=about, answer=words, status=code)
        except TimeoutError:
            return Delivery(Outcome.UNKNOWN, f"no answer within {self._timeout_s:g} s")
        except (OSError, EOFError, ValueError) as error:
            return Delivery(Outcome.UNKNOWN, f"no answer: {reason_of(error)}")
        finally:
            if self._kept is not connection:  # nsqd closes it too after an error
                self._note_failed(connection.address)
                connection.close()

    async def reach(self) -> None:
        """Connect and IDENTIFY, and publish nothing. Raises `OSError`, `TimeoutError`."""
        try:
            (await self._connect()).close()
        except (EOFError, ValueError) as error:
            raise OSError(reason_of(error)) from error

    def reload(self) -> None:
        """Read secret and certificates again; the kept connection stays. Raises `Failure`."""
        self._security.reload()

    def close(self) -> None:
        """Close the kept connection."""
        if self._asking is not None:
            self._asking.cancel()
        if self._kept is not None:
            self._kept.close()

    async def _connect(self) -> NsqdClient:
        """Connect to the first nsqd that answers. Raises the error of the last one if none does.

        Those that failed last are tried last.
        """
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._nsqds.run())
        if self._asking.done():
            self._asking.result()  # without nsqlookupds it ends at once; what it raises ends this process
        addresses = sorted(await self._nsqds.known(), key=self._rank)
        several = len(addresses) > 1
        # Half of the time is for all greetings, so that the publish has the other half.
        greeting_s = min(GREETING_TIMEOUT_S, self._timeout_s / (2 * len(addresses)))
        failed: Exception = OSError("there is no nsqd")
        for address in addresses:
            try:
                async with asyncio.timeout(greeting_s if several else None):
                    connection = await NsqdClient.open(address, self._security, IDENTITY)
            except TimeoutError:
                failed = OSError(f"nsqd {address}: no answer within {greeting_s:.3g} s")
            except (OSError, EOFError, ValueError) as error:
                failed = OSError(f"nsqd {address}: {reason_of(error)}")
            else:
                with contextlib.suppress(ValueError):
                    self._failed.remove(address)
                return connection
            self._note_failed(address)
        raise failed

    def _rank(self, address: str) -> int:
        return self._failed.index(address) if address in self._failed else -1

    def _note_failed(self, address: str) -> None:
        self._failed = [one for one in self._failed if one != address] + [address]
