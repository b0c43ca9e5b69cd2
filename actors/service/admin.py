"""The service's own HTTP: the operator's page, /status, /metrics, OTP's functions on children, the probes of
`health.py`, /republish, by which the dispatcher tells the client totals again, and /reload, which does what
SIGHUP does.

/status and /metrics are made from a fresh look; `status.py` adds it up. Whoever has the token may read, and
without one whoever reaches the address; the probes need none. `access.py` says who may change something. No
page of another site gets as far (`hosts.py` in `system`).
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import tornado.web
from msgspec import Struct

from ..core import calls, guids
from ..supervision.restarts import SpecError
from ..supervision.supervisor import Supervisor
from ..supervision.worker import StartFailed
from ..system import session_handlers
from ..system.doorkeeper import Doorkeeper
from ..system.http_server import BoundedHTTPServer, OwnHandler
from ..tree import DISPATCHER
from . import access, health, operator_page, totals
from .advice import advice, why_no_republish
from .metrics import metrics
from .status import ServiceView, status

ACTION_HEADER = "X-Playtally-Action"
# Only a republish has a body, with its videos, and the supervisor must not keep an upload.
BODY_BYTES_MAX = 16 * 1024
HEADER_BYTES_MAX = 16 * 1024
CALL_TIMEOUT_S = 10
IDLE_CONNECTION_TIMEOUT_S = 300
ACTION_ANSWER_S = 60  # an action that takes longer goes on, and the answer says so
PATHS = "/, /status, /events, /history, /metrics, /totals, /healthz, /readyz or /livez"


def server(
    service: ServiceView,
    address: str = "",
    allowed_hosts: Sequence[str] = (),
    token: Callable[[], str] = str,
) -> BoundedHTTPServer:
    """Return the HTTP server; the caller adds its sockets. See `BoundedHTTPServer` and `Doorkeeper`."""
    arguments = {"service": service}
    open_paths = (*health.PROBES, *session_handlers.OPEN_PATHS)
    doorkeeper = Doorkeeper("admin", token, lambda: service.secret, open_paths)
    application = tornado.web.Application(
        [
            (r"/status", _Status, arguments),
            (r"/metrics", _Metrics, arguments),
            *health.routes(service),
            *operator_page.routes(service),
            *totals.routes(service),
            *session_handlers.routes(doorkeeper),
            (r"/republish", _Republish, arguments),
            (r"/reload", _Reload, arguments),
            (r"/children/([a-z0-9-]+)/(terminate|restart|delete)", _Action, arguments),
        ],
        default_handler_class=_NotFound,
    )
    return BoundedHTTPServer(
        application,
        section="admin",
        address=address,
        allowed_hosts=allowed_hosts,
        open_paths=health.PROBES,
        doorkeeper=doorkeeper,
        max_body_size=BODY_BYTES_MAX,
        max_header_size=HEADER_BYTES_MAX,
        idle_connection_timeout=IDLE_CONNECTION_TIMEOUT_S,
    )


class _Handler(OwnHandler):
    def initialize(self, service: ServiceView) -> None:
        self.service = service

    def _refuse(self, code: int, why: str) -> None:
        self.set_status(code)
        self.write({"error": why})


class _Status(_Handler):
    async def get(self) -> None:
        self.write(status(self.service, await self.service.looks.fresh()))


class _Metrics(_Handler):
    async def get(self) -> None:
        found = status(self.service, await self.service.looks.fresh())
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.write(metrics(found))


class _Command(_Handler):
    """Obeys a POST only of those who may change something: see `access.py`.

    `self.caller.who` and `self.caller.address` say who asks, for people, and from where.
    """

    def prepare(self) -> None:
        if self.request.method != "POST":
            return
        denied = access.denial(self.caller, lambda: self.service.application.options.admin.actions)
        if denied is not None:
            for name, value in denied.headers.items():
                self.set_header(name, value)
            self._refuse(denied.status, denied.why)
            _ = self.finish()

    def names(self, action: str) -> bool:
        """Whether the header names this action; if not, the request is refused."""
        if self.request.headers.get(ACTION_HEADER) == action:
            return True
        self._refuse(403, f"expected the header {ACTION_HEADER}: {action}")
        return False


class _Action(_Command):
    async def post(self, child_id: str, action: str) -> None:
        supervisor = self.service.application.parent_of(child_id)
        if not self.names(action):
            return
        if supervisor is None:
            self._refuse(404, f"no child {child_id!r}, expected one of {', '.join(self._known())}")
        else:
            acting = asyncio.ensure_future(_act(supervisor, action, child_id))
            await self._answer(acting, supervisor, action, child_id)

    async def _answer(
        self, acting: asyncio.Future[None], supervisor: Supervisor, action: str, child_id: str
    ) -> None:
        acting.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait([acting], timeout=ACTION_ANSWER_S)
        if not acting.done():
            self._refuse(504, f"{action} {child_id} is not done after {ACTION_ANSWER_S} s; it goes on")
            return
        try:
            acting.result()
            self.write({"done": f"{action} {child_id}"})
        except SpecError as error:
            self._refuse(409, f"{error}{advice(action, supervisor, child_id)}")
        except StartFailed as error:
            self._refuse(409, f"{error}; the log says why")

    def _known(self) -> list[str]:
        """The ids of all children: processes, and supervisors below the root."""
        root = self.service.application.root
        return [child.spec.id for one in root.supervisors() for child in one.which_children()]


async def _act(supervisor: Supervisor, action: str, child_id: str) -> None:
    match action:
        case "terminate":
            await supervisor.terminate_child(child_id)
        case "restart":
            await supervisor.restart_child(child_id)
        case "delete":
            supervisor.delete_child(child_id)


class _RepublishBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What a republish is asked for with: either all, or some videos."""

    all: bool = False
    videos: list[str] = []


class _Republish(_Command):
    async def post(self) -> None:
        if not self.names("republish"):
            return
        try:
            body = msgspec.json.decode(self.request.body, type=_RepublishBody)
            videos = b"".join(dict.fromkeys(map(guids.parse, body.videos)))
            if body.all is bool(videos):
                raise ValueError("it names neither or both")
        except ValueError as error:
            self._refuse(400, f'{error}; expected {{"all": true}} or {{"videos": ["<GUID>", …]}}')
            return
        application = self.service.application
        if why := why_no_republish(application.parent_of(DISPATCHER)):
            self._refuse(409, why)
            return
        workers = [one for one in application.workers() if one.spec.id == DISPATCHER]
        request = calls.encode(calls.RepublishCall(videos))
        answers = [await one.call(request, CALL_TIMEOUT_S) for one in workers]
        if not answers or answers[0] is None:
            self._refuse(
                503,
                f"{DISPATCHER} did not answer within {CALL_TIMEOUT_S} s, or ended meanwhile; if the "
                "republish began, the log has a line of it, else ask again",
            )
            return
        answer = calls.decode_answer(answers[0])
        if answer.refused:
            self._refuse(409, answer.text)
        else:
            self.write({"done": answer.text})


class _Reload(_Command):
    async def post(self) -> None:
        if self.names("reload"):
            self.write(msgspec.to_builtins(self.service.reload("reload")))


class _NotFound(OwnHandler):
    def prepare(self) -> None:
        self.set_status(404)
        _ = self.finish({"error": f"no {self.request.path} here, expected {PATHS}"})
