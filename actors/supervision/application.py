"""The tree of one program: its children, the links between them, and the watchdog.

Two running children that are peers get a fresh pipe whenever one of them has started. A child that does not
answer pings for the liveness timeout is killed; its supervisor then restarts it.
"""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Generic

from .actor import Options
from .loop import until_next
from .orphans import reap_inherited
from .processes import pipe
from .protocol import Linked, Ready, Reload
from .restarts import ChildSpec, Exit, Restarted
from .states import State
from .supervisor import Supervisor
from .worker import EXITS_KEPT_MAX, RESTARTS_KEPT_MAX, Worker

log = logging.getLogger(__name__)

PING_INTERVAL_S = 1.0  # twice that while all answer
RESTART_SHARE = 0.5  # of the time to drain: the longest wait for restarts that are pending
RESTART_LOOK_S = 0.02


class Application(Generic[Options]):
    """The tree of one program."""

    def __init__(
        self,
        name: str,
        options: Options,
        root: ChildSpec,
        with_addresses: Callable[[Options, dict[str, str]], Options],
        on_end: Callable[[Supervisor, Exit], None],
    ):
        """Builds the tree and starts nothing. Raises `SpecError`.

        `name` stands before a child's id in `ps`. `options` are handed to every actor. `root` is the spec of
        the root supervisor. `with_addresses` returns the options for children that start later, with the
        addresses that a child listens on (`Ready.addresses`). `on_end` is called when the root ended by
        itself. The attribute `on_stats` may be set: it is called each time that a child has told its stats.
        """
        self.name = name
        self.options = options
        self.exits: deque[str] = deque(maxlen=EXITS_KEPT_MAX)
        self.restarts: deque[Restarted] = deque(maxlen=RESTARTS_KEPT_MAX)  # the latest ones, oldest first
        self.root = Supervisor(root, lambda spec, on_exit: Worker(spec, self, on_exit), on_end)
        self.on_stats: Callable[[Worker], None] = lambda worker: None
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
        self.options = self._with_addresses(self.options, ready.addresses)
        running = {one.spec.id: one for one in self.workers() if one.state is State.RUNNING}
        for peer_id in worker.spec.peers:
            if peer_id in running:
                _link(worker, running[peer_id])

    def told(self, worker: Worker) -> None:
        """A worker has told its stats."""
        self.on_stats(worker)

    async def poll(self, groups: Iterable[Collection[str]]) -> dict[str, bytes]:
        """Ask these children for fresh stats, one group of ids after the other. Returns the stats by id.

        A child that does not answer is left out. Name those who give messages before those who take them:
        then none falls between. `Worker.stats` may be newer than what is returned, so that one would.
        """
        heard: dict[str, bytes] = {}
        for group in groups:
            asked = [one for one in self.workers() if one.spec.id in group]
            answers = await asyncio.gather(*(worker.refresh() for worker in asked))
            pairs = zip(asked, answers, strict=True)
            heard |= {worker.spec.id: stats for worker, stats in pairs if stats is not None}
        return heard

    async def drain(self, timeout_s: float) -> list[Worker]:
        """Give each child, last first, `timeout_s` seconds to finish what it holds. Returns who did not.

        Those that bring in new work (`ChildSpec.intake`) are first, and all at once. From now on no command
        starts a child. A child whose restart is pending is started at once, so that it
        finishes what it holds too; not one that brings in new work.
        """
        self.root.close()
        drained = [one for one in reversed(self.workers()) if one.spec.drains]
        intake = [one for one in drained if one.spec.intake]
        ended = await asyncio.gather(*(self._drain(one, timeout_s) for one in intake))
        left = [one for one, done in zip(intake, ended, strict=True) if not done]
        rest = [one for one in drained if not one.spec.intake]
        return left + [one for one in rest if not await self._drain(one, timeout_s)]

    async def _drain(self, worker: Worker, timeout_s: float) -> bool:
        end_s = time.monotonic() + timeout_s
        while True:
            if not worker.spec.intake:
                await self._restarted(end_s - timeout_s * (1 - RESTART_SHARE))
            left_s = end_s - time.monotonic()
            done = await worker.drain(max(0.0, left_s))
            if left_s <= 0 or worker.spec.intake or not self._is_restarting(worker):
                return done

    async def _restarted(self, until_s: float) -> None:
        """Wait until no restart is pending, or until that time."""
        while time.monotonic() < until_s and any(
            self._is_restarting(one) for one in self.workers() if not one.spec.intake
        ):
            await asyncio.sleep(RESTART_LOOK_S)

    def _is_restarting(self, worker: Worker) -> bool:
        """Whether it, or a supervisor above it, is to be started again."""
        ids = {worker.spec.id}
        for supervisor in reversed(list(self.root.supervisors())):
            below = {child.spec.id for child in supervisor.which_children()}
            if any(supervisor.is_restarting(one) for one in ids & below):
                return True
            if ids & below:
                ids.add(supervisor.spec.id)
        return False

    def reload(self) -> None:
        """Have each running child read its files again: see `Actor.reload`."""
        for worker in self.workers():
            if worker.state is State.RUNNING and worker.process is not None:
                worker.process.send(Reload())

    def signal(self, number: int) -> None:
        """Send a signal to each child that has a process."""
        for worker in self.workers():
            if worker.process is not None:
                worker.process.signal(number)

    async def watch(self, timeout_s: float) -> None:
        """Ping all, for ever; kill a child once it has not answered for `timeout_s` seconds.

        While all have answered, every second turn asks nobody. As long as one has not, each turn asks all, so
        that those which hang together are found to hang together.

        As a container's first process it also reaps what it inherits: see `orphans.py`.
        """
        interval_s = min(PING_INTERVAL_S, timeout_s / 4)
        last_s, rests = time.monotonic(), True
        while True:
            asked_s = [one.unanswered_since_s for one in self.workers() if one.unanswered_since_s is not None]
            left_s = [since_s + timeout_s - last_s for since_s in asked_s]
            wait_s = min([until_next(interval_s, last_s), *(one for one in left_s if one > 0)])
            await asyncio.sleep(wait_s)
            reap_inherited()
            now_s = time.monotonic()
            stalled_s, last_s = now_s - last_s - wait_s, now_s
            rests = not rests and all(one.unanswered_since_s is None for one in self.workers())
            for worker in self.workers():
                if worker.state is not State.RUNNING or worker.process is None:
                    continue
                since_s = worker.unanswered_since_s
                if since_s is not None and stalled_s > interval_s:
                    # this process did not run meanwhile, so the child is not to blame
                    worker.unanswered_since_s = since_s + stalled_s
                elif since_s is not None and now_s - since_s >= timeout_s:
                    worker.process.kill_hung(f"no answer for {now_s - since_s:.1f} s")
                if not rests:
                    worker.ping()


def _link(one: Worker, other: Worker) -> None:
    """Link two running children: a fresh pipe, one end for each."""
    ends = pipe()
    for worker, peer, end in ((one, other, ends[0]), (other, one, ends[1])):
        assert worker.process is not None
        worker.process.send(Linked(peer.spec.id, peer.incarnation), end)
        os.close(end)
