"""Who runs, who is linked to whom, who answers: the service's children as one picture.

Owns the links between running children: a fresh pipe for every pair, whenever one of the two has
started. Kills a child that does not answer for the liveness timeout; its supervisor takes it from there.
"""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable

from ..config import Settings
from ..core.messages import Linked, Ready
from .processes import pipe
from .restarts import ChildSpec, Exit
from .supervisor import Supervisor
from .worker import EXITS_KEPT_MAX, State, Worker

log = logging.getLogger(__name__)

PING_INTERVAL_S = 1.0


class Application:
    """The tree of one service, and what goes on between its children."""

    def __init__(
        self,
        settings: Settings,
        root: ChildSpec,
        with_addresses: Callable[[Settings, dict[str, str]], Settings],
        on_end: Callable[[Supervisor, Exit], None],
    ):
        """`root`: the spec of the root supervisor. `with_addresses` puts the addresses that a child has taken
        into the settings, for those that start after it. `on_end` is called when the root ended by itself.
        """
        self.settings = settings
        self.exits: deque[str] = deque(maxlen=EXITS_KEPT_MAX)
        self.root = Supervisor(root, self._make_worker, on_end)
        self._with_addresses = with_addresses

    def workers(self) -> list[Worker]:
        """All children that are processes, in the order in which they start."""
        return list(self.root.workers())

    def parent_of(self, child_id: str) -> Supervisor | None:
        """The supervisor whose child it is."""
        for supervisor in self.root.supervisors():
            if any(child.spec.id == child_id for child in supervisor.which_children()):
                return supervisor
        return None

    def ready(self, worker: Worker, ready: Ready) -> None:
        """A worker runs: keep the addresses that it has taken, and link it to its peers."""
        self.settings = self._with_addresses(self.settings, ready.addresses)
        running = {one.spec.id: one for one in self.workers() if one.state is State.RUNNING}
        for peer_id in worker.spec.peers:
            if peer_id in running:
                _link(worker, running[peer_id])

    async def poll(self) -> None:
        """Fresh figures of all: first who gives, then who takes, so that nothing falls between."""
        for group in ("consumer", "counter", "dispatcher"):
            asked = [one for one in self.workers() if one.spec.id.startswith(group)]
            await asyncio.gather(*(worker.refresh() for worker in asked))

    async def drain(self) -> None:
        """Let the children finish what they hold, those that give before those that take."""
        timeout_s = self.settings.supervisor.shutdown_timeout_s
        for worker in reversed(self.workers()):
            if worker.spec.drains:
                await worker.drain(timeout_s)

    async def watch(self) -> None:
        """Ping all, for ever; kill who has not answered for the liveness timeout."""
        timeout_s = self.settings.supervisor.liveness_timeout_s
        interval_s = min(PING_INTERVAL_S, timeout_s / 4)
        last_s = time.monotonic()
        while True:
            await asyncio.sleep(interval_s)
            now_s = time.monotonic()
            stalled_s, last_s = now_s - last_s - interval_s, now_s
            for worker in self.workers():
                if worker.state is not State.RUNNING or worker.process is None:
                    continue
                since_s = worker.unanswered_since_s
                if since_s is not None and stalled_s > interval_s:
                    worker.unanswered_since_s = since_s + stalled_s  # we slept, so nobody is to blame
                elif since_s is not None and now_s - since_s > timeout_s:
                    worker.process.kill_hung(f"no answer for {now_s - since_s:.1f} s")
                worker.ping()

    def _make_worker(self, spec: ChildSpec, on_exit: Callable[[Worker, Exit], None]) -> Worker:
        return Worker(spec, self, on_exit)


def _link(one: Worker, other: Worker) -> None:
    """A fresh pipe between two running children, one end each."""
    ends = pipe()
    for worker, peer, end in ((one, other, ends[0]), (other, one, ends[1])):
        assert worker.process is not None
        worker.process.send(Linked(peer.spec.id, peer.incarnation), end)
        os.close(end)
