"""What may be done to a running service by HTTP: OTP's functions on children, signals, pauses, settings,
/republish, by which the dispatcher tells the client totals again, and /reload, which does what SIGHUP does.
GET /actions shows what was done.
"""

import asyncio
from typing import Any, TypeVar

import msgspec
import tornado.web
from msgspec import Struct

from ..config import ConfigError
from ..core import calls, guids
from ..core.words import counted
from ..supervision.restarts import SpecError
from ..supervision.signals import signal_of
from ..supervision.states import State
from ..supervision.supervisor import Supervisor
from ..supervision.worker import StartFailed
from ..system.exits import Failure
from ..tree import DISPATCHER
from .advice import advice, no_process, why_no_republish
from .handlers import Command, Handler
from .running_changes import CALL_TIMEOUT_S, PARTS
from .status import ServiceView

ACTION_ANSWER_S = 60  # an action that takes longer goes on, and the answer says so

Body = TypeVar("Body")


def routes(service: ServiceView) -> list[tuple[str, type[tornado.web.RequestHandler], dict[str, Any]]]:
    """Return the routes, for tornado."""
    arguments = {"service": service}
    handlers: list[tuple[str, type[tornado.web.RequestHandler]]] = [
        (r"/actions", _Actions),
        (r"/republish", _Republish),
        (r"/reload", _Reload),
        (r"/(pause|resume)/([^/]*)", _Pause),
        (r"/set", _Set),
        (r"/children/([^/]*)/kill", _Kill),
        (r"/children/([^/]*)/(terminate|restart|delete)", _Child),
    ]
    return [(path, handler, arguments) for path, handler in handlers]


class _Actions(Handler):
    def get(self) -> None:
        self.write({"actions": self.service.actions.newest_first()})


class _OfChild(Command):
    def known(self) -> list[str]:
        """The ids of all children: processes, and supervisors below the root."""
        root = self.service.application.root
        return [child.spec.id for one in root.supervisors() for child in one.which_children()]

    def refuse_unknown(self, child_id: str) -> None:
        """Answer that there is no such child."""
        self.refuse(404, f"no child {child_id!r}, expected one of {', '.join(self.known())}")


class _Child(_OfChild):
    async def post(self, child_id: str, action: str) -> None:
        supervisor = self.service.application.parent_of(child_id)
        if not self.begins(action, child_id):
            return
        if supervisor is None:
            self.refuse_unknown(child_id)
        else:
            acting = asyncio.ensure_future(_act(supervisor, action, child_id))
            await self._answer(acting, supervisor, action, child_id)

    async def _answer(
        self, acting: asyncio.Future[None], supervisor: Supervisor, action: str, child_id: str
    ) -> None:
        acting.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait([acting], timeout=ACTION_ANSWER_S)
        if not acting.done():
            self.refuse(504, f"{action} {child_id} is not done after {ACTION_ANSWER_S} s; it goes on")
            return
        try:
            acting.result()
            self.done(f"{action} {child_id}")
        except SpecError as error:
            self.refuse(409, f"{error}{advice(action, supervisor, child_id)}")
        except StartFailed as error:
            self.refuse(409, f"{error}; the log says why")


async def _act(supervisor: Supervisor, action: str, child_id: str) -> None:
    match action:
        case "terminate":
            await supervisor.terminate_child(child_id)
        case "restart":
            await supervisor.restart_child(child_id)
        case "delete":
            supervisor.delete_child(child_id)


class _KillBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Which signal a child gets: its name or its number."""

    signal: str | int = "KILL"


class _Kill(_OfChild):
    def post(self, child_id: str) -> None:
        if not self.begins("kill", child_id):
            return
        try:
            body = msgspec.json.decode(self.request.body or b"{}", type=_KillBody)
            number = signal_of(str(body.signal))
        except ValueError as error:
            self.refuse(400, f'{error}; expected no body, or {{"signal": "KILL"}}')
            return
        children = {one.spec.id: one for one in self.service.application.workers()}
        if child_id not in children:
            supervisors = {one.spec.id: one for one in self.service.application.root.supervisors()}
            if child_id in supervisors:
                self.refuse(409, no_process(supervisors[child_id]))
            else:
                self.refuse_unknown(child_id)
            return
        child = children[child_id]
        process = None if child.state is State.STOPPED else child.process
        if process is None or not process.alive:
            self.refuse(409, no_process(child))
            return
        self._what += f" ({number.name})"
        process.signal(number)
        self.done(f"sent {number.name} to {child_id} (pid {process.pid})")


class _Pause(Command):
    async def post(self, action: str, part: str) -> None:
        if not self.begins(action, part):
            return
        if part not in PARTS:
            self.refuse(404, f"{action} {part!r}, expected {' or '.join(PARTS)}")
        else:
            self.done(await self.service.changes.pause(part, action == "pause"))


class _SetBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A setting, and its value as `--set` takes it."""

    setting: str
    value: str | int | float


class _Set(Command):
    async def post(self) -> None:
        if not self.begins("set"):
            return
        try:
            body = msgspec.json.decode(self.request.body, type=_SetBody)
        except ValueError as error:
            self.refuse(400, f'{error}; expected {{"setting": "SECTION.KEY", "value": "VALUE"}}')
            return
        self._what += f" {body.setting} = {body.value}"
        try:
            self.done(await self.service.changes.set(body.setting, str(body.value)))
        except ConfigError as error:
            self.refuse(400, "; ".join(error.problems))
        except Failure as failure:
            self.refuse(409, str(failure))


class _RepublishBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What a republish is asked for with: either all, or some videos."""

    all: bool = False
    videos: list[str] = []


class _Republish(Command):
    async def post(self) -> None:
        if not self.begins("republish"):
            return
        try:
            body = msgspec.json.decode(self.request.body, type=_RepublishBody)
            videos = b"".join(dict.fromkeys(map(guids.parse, body.videos)))
            if body.all is bool(videos):
                raise ValueError("it names neither or both")
        except ValueError as error:
            self.refuse(400, f'{error}; expected {{"all": true}} or {{"videos": ["<GUID>", …]}}')
            return
        self._what += " all videos" if body.all else f" {counted(len(body.videos), 'video')}"
        application = self.service.application
        if why := why_no_republish(application.parent_of(DISPATCHER)):
            self.refuse(409, why)
            return
        workers = [one for one in application.workers() if one.spec.id == DISPATCHER]
        request = calls.encode(calls.RepublishCall(videos))
        answers = [await one.call(request, CALL_TIMEOUT_S) for one in workers]
        if not answers or answers[0] is None:
            self.refuse(
                503,
                f"{DISPATCHER} did not answer within {CALL_TIMEOUT_S} s, or ended meanwhile; if the "
                "republish began, the log has a line of it, else ask again",
            )
            return
        answer = calls.decode_answer(answers[0])
        if answer.refused:
            self.refuse(409, answer.text)
        else:
            self.done(answer.text)


class _Reload(Command):
    def post(self) -> None:
        if self.begins("reload"):
            found = self.service.reload("reload")
            self.note("done" if not found.refused else f"refused: {'; '.join(found.refused)}")
            self.write(msgspec.to_builtins(found))
