"""Whether the service is alive, ready and healthy: what probes and alerts ask.

Every answer is at once, from what was heard last: nothing waits for a look, a child or an nsqd. No token is
needed, and any Host is taken. But why the service is not healthy is told only where the Host is ours: else a
page of another site could read it by DNS rebinding.
"""

from typing import Protocol

import tornado.web

from ..config import Settings
from ..sources.lookup import shown
from ..supervision.application import Application
from ..supervision.states import State
from ..system.http_server import OwnHandler
from .consumers import told_by_consumers

PROBES = ("/livez", "/readyz", "/healthz")  # answered whatever the Host header says


class HealthView(Protocol):
    """The parts of a service that its health depends on. `asked_for`: the ids of the children in its tree."""

    application: Application[Settings]
    asked_for: list[str]


def routes(service: HealthView) -> list[tuple[str, type[tornado.web.RequestHandler], dict[str, HealthView]]]:
    """Return the routes, for tornado."""
    arguments = {"service": service}
    return [
        (path, handler, arguments) for path, handler in zip(PROBES, (_Live, _Ready, _Health), strict=True)
    ]


def down(service: HealthView) -> list[str]:
    """Return the ids of the children that do not run, of all that the settings ask for."""
    running = {one.spec.id for one in service.application.workers() if one.state is State.RUNNING}
    return [child_id for child_id in service.asked_for if child_id not in running]


def reasons(service: HealthView) -> list[str]:
    """Return why the service is not healthy, in sentences; empty if it is."""
    states = {one.spec.id: str(one.state) for one in service.application.workers()}
    found = []
    for child_id in down(service):
        state = f"is {states[child_id]}" if child_id in states else "was deleted"
        found.append(f"{child_id} {state}, expected running")
    if not told_by_consumers(service.application).connections:
        found.append(f"no nsqd is connected, expected {_where(service.application.options)}")
    return found


def _where(settings: Settings) -> str:
    addresses = ", ".join(settings.nsqd_addresses)
    if lookupds := ", ".join(map(shown, settings.nsq.lookupd_http_addresses)):
        found = f"one that nsqlookupd {lookupds} knows for topic {settings.nsq.topic}"
        return f"{addresses}, or {found}" if addresses else found
    return f"one of {addresses}" if len(settings.nsqd_addresses) > 1 else addresses


class _Probe(OwnHandler):
    def initialize(self, service: HealthView) -> None:
        self.service = service

    def answer(self, is_well: bool, name: str, more: dict[str, list[str]]) -> None:
        """Answer 200 or 503, and say `more` to those who name this listener in the Host header."""
        self.set_status(200 if is_well else 503)
        self.write({name: is_well} | ({} if self.is_of_stranger else more))


class _Live(_Probe):
    async def get(self) -> None:
        self.write({"alive": True})


class _Ready(_Probe):
    async def get(self) -> None:
        why_not = reasons(self.service)
        self.answer(not why_not, "ready", {"reasons": why_not})


class _Health(_Probe):
    async def get(self) -> None:
        why_not = reasons(self.service)
        self.answer(not why_not, "healthy", {"reasons": why_not, "down": down(self.service)})
