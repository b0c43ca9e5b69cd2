"""The service's own HTTP: the operator's page, /status, /metrics, the probes of `health.py`, and what may be
done to the service (`actions.py`).

/status and /metrics are made from a fresh look; `status.py` adds it up. To read takes the token,
if one is set; the probes need none. `access.py` says who may change something. No
page of another site gets as far (`hosts.py` in `system`).
"""

from collections.abc import Callable, Sequence

import tornado.web

from ..system import session_handlers
from ..system.doorkeeper import Doorkeeper
from ..system.exact_paths import by_path
from ..system.http_server import BoundedHTTPServer, OwnHandler
from . import actions, health, operator_page, totals
from .handlers import Handler
from .status import ServiceView, status

# A republish has a body with its videos, and the supervisor must not keep an upload.
BODY_BYTES_MAX = 16 * 1024
HEADER_BYTES_MAX = 16 * 1024
IDLE_CONNECTION_TIMEOUT_S = 300
PATHS = "/, /status, /events, /history, /metrics, /totals, /actions, /healthz, /readyz or /livez"


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
        by_path(
            [
                ("/status", _Status, arguments),
                ("/metrics", _Metrics, arguments),
                *health.routes(service),
                *operator_page.routes(service),
                *totals.routes(service),
                *session_handlers.routes(doorkeeper),
                *actions.routes(service),
            ]
        ),
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


class _Status(Handler):
    async def get(self) -> None:
        self.write(status(self.service, await self.service.looks.fresh()))


class _Metrics(Handler):
    async def get(self) -> None:
        from .metrics import metrics  # here: its library is heavy, and many services have no Prometheus

        found = status(self.service, await self.service.looks.fresh())
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.write(metrics(found))


class _NotFound(OwnHandler):
    def prepare(self) -> None:
        self.set_status(404)
        _ = self.finish({"error": f"no {self.request.path} here, expected {PATHS}"})
