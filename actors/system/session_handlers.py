"""POST /session: the token becomes the cookie of a session. POST /session/end has the browser forget it."""

from typing import Any
from urllib.parse import parse_qs

import tornado.web

from . import sessions
from .doorkeeper import Denial, Doorkeeper
from .http_server import OwnHandler
from .session_form import FOLDER, HEADERS, HTML, form

SESSION, STYLE, ICON = "/session", "/session.css", "/icon.svg"
OPEN_PATHS = (SESSION, f"{SESSION}/end", STYLE, ICON)  # the form, and what it is made of
FIELD = "token"
# The form may be as long as a token, each byte as %xx. The rest of a longer body is read and dropped.
BODY_BYTES_MAX = 16 * 1024


def routes(doorkeeper: Doorkeeper) -> list[tuple[str, type[tornado.web.RequestHandler], dict[str, Any]]]:
    """Return the routes, for tornado. The icon is the listener's own."""
    return [
        (SESSION, _Session, {"doorkeeper": doorkeeper}),
        (f"{SESSION}/end", _End, {"doorkeeper": doorkeeper}),
        (STYLE, _Style, {"content": (FOLDER / "session.css").read_bytes()}),
    ]


class _SessionHandler(OwnHandler):
    def initialize(self, doorkeeper: Doorkeeper) -> None:
        self._doorkeeper = doorkeeper

    def open_page(self, value: str, lasts_s: int = sessions.LASTS_S) -> None:
        """Set the cookie, and lead to the page, under whatever path a proxy has it."""
        self.set_header(
            "Set-Cookie", sessions.set_cookie(self._doorkeeper.cookie, value, self._is_secure, lasts_s)
        )
        self.set_status(303)

    @property
    def _is_secure(self) -> bool:
        """Whether the browser speaks https, as a proxy says or as its page says.

        Who says so and does not gets a cookie that the browser keeps back: no harm to anyone else.
        """
        said = self.request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
        return said == "https" or self.request.headers.get("Origin", "").lower().startswith("https://")


@tornado.web.stream_request_body
class _Session(_SessionHandler):
    def prepare(self) -> None:
        self._body = b""

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk[: BODY_BYTES_MAX + 1 - len(self._body)]

    def get(self) -> None:
        self.set_status(303)  # a browser comes here again after the form was wrong
        self.set_header("Location", "./")

    def post(self) -> None:
        found = self._found()
        if isinstance(found, str):
            self.open_page(found)
            self.set_header("Location", "./")
            return
        self.set_status(found.status)
        for name, value in (HEADERS | dict(found.headers) | {"Content-Type": HTML}).items():
            self.set_header(name, value)
        self.write(form(self._doorkeeper.section, found.why))

    def _found(self) -> str | Denial:
        if len(self._body) > BODY_BYTES_MAX:
            return Denial(413, f"The form has more than {BODY_BYTES_MAX} bytes, expected a token.")
        try:
            given = parse_qs(self._body.decode("ascii"), max_num_fields=9).get(FIELD, [])
        except ValueError:
            return Denial(400, "The form can't be read, expected one as a browser sends it.")
        if len(given) != 1:
            return Denial(400, f"The form has {len(given)} fields {FIELD!r}, expected one that is not empty.")
        return self._doorkeeper.enter(given[0].strip(), self.caller.address)


class _End(_SessionHandler):
    def post(self) -> None:
        self.open_page("", lasts_s=0)
        self.set_header("Location", "../")


class _Style(OwnHandler):
    def initialize(self, content: bytes) -> None:
        self._content = content

    def get(self) -> None:
        self.set_header("Content-Type", "text/css; charset=utf-8")
        self.write(self._content)
