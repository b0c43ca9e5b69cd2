"""What somebody paused or set while the service runs. It holds until the next start of the service.

The service has it, and not the children: each incarnation of a consumer and of the dispatcher is started
with its orders, so one that was killed in a pause is paused from its first moment on.
"""

import asyncio

from ..config import Settings, checked_value, with_values
from ..core import calls
from ..core.consumers import consumers_of
from ..supervision.application import Application
from ..supervision.states import State
from ..supervision.worker import Worker
from ..system.installation import service_command
from ..tree import DISPATCHER
from . import descriptors

CALL_TIMEOUT_S = 10
PARTS = CONSUMING, PUBLISHING = "consuming", "publishing"


class RunningChanges:
    """The pauses and values that hold now. `paused`: by part. `values`: by "section.key"."""

    def __init__(self, application: Application[Settings]):
        self._application = application
        self.paused = dict.fromkeys(PARTS, False)
        self.values: dict[str, float] = {}

    async def pause(self, part: str, paused: bool) -> str:
        """Pause or resume "consuming" or "publishing". Returns what holds now, in words."""
        was, self.paused[part] = self.paused[part], paused
        told = await self._instruct(part)
        resume = f"`{service_command()} resume {part}` ends that"
        if paused:
            return f"{part} is paused{' already' if was else ''}{told}; {resume}"
        return f"{part} goes on{told}" if was else f"{part} was not paused{told}"

    async def set(self, name: str, text: str) -> str:
        """Use another value for a setting. Returns what holds now, in words.

        Raises `ConfigError`, and `Failure` if a process may open too few files for it.
        """
        options = self._application.options
        value = checked_value(with_values(options, self.values), name, text)
        children = [one.spec.id for one in self._application.workers()]
        _ = descriptors.check(with_values(options, {name: value}), children)
        section, _, key = name.partition(".")
        if value == getattr(getattr(options, section), key):
            self.values.pop(name, None)
        else:
            self.values[name] = value
        told = await self._instruct(PUBLISHING)
        return f"{name} is {value:g} until the next start{told}; the config file is as it was"

    async def _instruct(self, part: str) -> str:
        """Tell all children of a part. Returns what is to be known of them, in words; "" if all obey."""
        consumers = consumers_of(self._application.options.nsq.consumers)
        orders = calls.Orders(self.paused[part], dict(self.values) if part == PUBLISHING else {})
        children = consumers if part == CONSUMING else [DISPATCHER]
        return "".join(await asyncio.gather(*(self._tell(one, orders) for one in children)))

    async def _tell(self, child_id: str, orders: calls.Orders) -> str:
        child = next((one for one in self._application.workers() if one.spec.id == child_id), None)
        if child is None:
            return f" ({child_id} was deleted)"
        answer = await child.instruct(calls.encode(orders), CALL_TIMEOUT_S)
        return _told(child) if answer is None else ""


def _told(child: Worker) -> str:
    if child.state is State.RUNNING:
        return f" ({child.spec.id} has not answered yet, and holds to it as soon as it does)"
    return f" ({child.spec.id} is {child.state} just now, and holds to it when it starts)"
