"""What a sink offers, and the result of one attempt to send a batch.

tests/unit/sinks/test_contract.py puts every sink through this.
"""

from collections.abc import Callable
from typing import NamedTuple

from ..core.dispatcher.attempts import About, Outcome
from ..core.dispatcher.outbox import Batch


class Delivery(NamedTuple):
    """The result of one attempt: the outcome, why it failed, and the pause that the client asked for in ms.

    `rejected`: the client said that the request itself is wrong, so another attempt may not help.
    `notice`: something to look into, although the batch was accepted. `busy`: the client said that it has too
    much to do (429, 503). `server_error`: the client answered with a 5xx. It may keep that answer under the
    batch's key. `about`: what a refusal is about. `answer`: the client's own words, fit for a log; ""
    if it gave no answer, or took the batch. `nsqd`: the "host:port" of the nsqd that it was sent to, if any.
    `status`: what the client answered, in a word: "200"; "" if it gave no answer.
    """

    outcome: Outcome
    why: str = ""
    retry_after_ms: int | None = None
    rejected: bool = False
    notice: str = ""
    busy: bool = False
    server_error: bool = False
    about: About = About.MOMENT
    answer: str = ""
    nsqd: str = ""
    status: str = ""

    @property
    def answered(self) -> str:
        """What the client answered, or that it did not: for figures."""
        return self.status or ("not sent" if self.outcome is Outcome.REFUSED else "no answer")


class Sink:
    """Sends batches. `name`: where to, for people, without secrets. `receiver`: the same, fit to tell it from
    another client; not for people. `settings`: those that may be wrong if it refuses everything.

    `takes_several`: whether several batches are on their way at once. The other sinks get one at a time, to
    keep the order of the batches.

    Subclass it. One that keeps nothing open, and writes nothing later, needs `deliver` only. Several calls of
    it may be under way at once.
    """

    name: str
    receiver: str
    settings = "publish.url, the token, secret and certificate in [publish]"
    takes_several = False

    async def deliver(self, batch: Batch, held_up_ms: int = 0) -> Delivery:
        """Send a batch once: at most one request leaves. It never raises because of a client or a network.

        `held_up_ms`: for how long the client has delayed the batch. A sink tells the client if it can.
        """
        raise NotImplementedError  # abstract: each sink sends in its own way

    def begin(self, batch: Batch, held_up_ms: int, done: Callable[[Delivery], None]) -> bool:
        """Send a batch once, now, and call `done` with the result later: costs less than `deliver`.

        False if that can't be done without waiting; then nothing was sent.
        """
        return False

    async def reach(self) -> None:
        """Connect and publish nothing. Raises `OSError` (its text is the reason) or `TimeoutError`."""

    async def flush(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` seconds until everything that was taken over is written."""

    def reload(self) -> None:
        """Read again the files that the settings name. Raises `Failure`: then what was read before holds."""

    def close(self) -> None:
        """Close the connections that are kept for the next batches. A second call does nothing."""
