"""The start of a supervisor's children: in order, and side by side where the specs say so.

A child starts once those run that its spec names in `after`, or, as in OTP, all before it. Order is what a
spec asks for; so who needs another's address, or what it brings, names it.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from .restarts import ChildSpec
from .worker import StartFailed


class Startable(Protocol):
    """A worker or a supervisor."""

    spec: ChildSpec

    async def start(self) -> None:
        """Raises `StartFailed`."""


class Starts:
    """One start of these children. Nothing is started once one has failed, or it does not go on."""

    def __init__(self, supervisor: object, children: Iterable[Startable], goes_on: Callable[[], bool]):
        """`goes_on` is asked before a child is started and after one was. `supervisor`: its name."""
        self._supervisor = supervisor
        self._left = list(children)
        self._goes_on = goes_on
        self._waits_for = _waits_for(self._left)
        self._ready: set[str] = set()
        self._under_way: dict[asyncio.Task[None], str] = {}

    async def run(self) -> None:
        """Start all, and wait until all run. Raises `StartFailed`, of the first one that fails.

        Others may be starting then: see `ended`. Cancelled, it leaves the processes that start as they are.
        """
        try:
            while self._left or self._under_way:
                self._start_those_that_may()
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
                self._take_those_that_run()
        except asyncio.CancelledError:
            for task in self._under_way:
                task.cancel()
            raise

    async def ended(self) -> None:
        """Wait until nobody starts any more: a failure stops those that do."""
        if self._under_way:
            await asyncio.gather(*self._under_way, return_exceptions=True)

    def _start_those_that_may(self) -> None:
        may = [one for one in self._left if self._waits_for[one.spec.id] <= self._ready]
        self._left = [one for one in self._left if one not in may]
        self._under_way |= {asyncio.ensure_future(self._start(one)): one.spec.id for one in may}

    async def _start(self, child: Startable) -> None:
        self._check()  # here, and not before: a stop may have begun since this was made
        await child.start()

    def _check(self) -> None:
        if not self._goes_on():
            raise StartFailed(f"{self._supervisor} was told to stop before all its children ran")

    def _take_those_that_run(self) -> None:
        for task in [one for one in self._under_way if one.done()]:
            child_id = self._under_way.pop(task)
            task.result()
            self._ready.add(child_id)
        self._check()


def _waits_for(children: Iterable[Startable]) -> dict[str, set[str]]:
    """The ids of those that have to run before each child starts."""
    before: set[str] = set()
    found = {}
    for child in children:
        after = child.spec.after
        found[child.spec.id] = set(before) if after is None else before & set(after)
        before.add(child.spec.id)
    return found
