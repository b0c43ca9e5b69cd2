"""The order in which a program's children are drained."""

import asyncio

from actors.supervision.application import Application
from actors.supervision.restarts import ChildSpec, SupervisorSpec
from tests.support.patience import PATIENCE_S


class Child:
    """A worker that is drained when as many as `together` are being drained, this one among them."""

    def __init__(self, at_work, name, together=1, **spec):
        self.spec = ChildSpec(name, "a:B", drains=True, **spec)
        self.at_work, self._together = at_work, together

    async def drain(self, timeout_s):
        self.at_work.append(self.spec.id)
        while len(self.at_work) < self._together:
            await asyncio.sleep(0)
        return self.spec.id != "slow"


def test_all_that_bring_in_new_work_are_drained_first_and_at_once_and_the_others_one_by_one_last_first():
    at_work = []
    root = ChildSpec("root", supervisor=SupervisorSpec(()))
    application = Application("test", None, root, lambda options, addresses: options, lambda *_: None)
    first, last = Child(at_work, "first"), Child(at_work, "last")
    slow, other = (Child(at_work, name, together=2, intake=True) for name in ("slow", "other"))
    application.workers = lambda: [first, slow, last, other]
    left = asyncio.run(asyncio.wait_for(application.drain(1.0), PATIENCE_S))
    assert left == [slow]
    assert at_work == ["other", "slow", "last", "first"]
