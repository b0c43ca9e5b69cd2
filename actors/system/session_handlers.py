"""POST /session: the token becomes the cookie of a session. POST /session/end has the browser forget it."""

from typing import Any

import tornado.web

from . import sessions
from .doorkeeper import Denial, Doorkeeper
from .http_server import OwnHandler
from .session_form import FOLDER, HEADERS, HTML, form

SESSION, STYLE, ICON = "/session", "/session.css", "/icon.svg"
OPEN_PATHS = (SESSION, f"{SESSION}/end", STYLE, ICON)  # the form, and what it is made of
FIELD = "token"


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


class _Session(_SessionHandler):
    def get(self) -> None:
        self.set_status(303)  # a browser comes here again after the form was wrong
        self.set_header("Location", "./")

    def post(self) -> None:
        given = self.get_body_arguments(FIELD)
        if len(given) == 1:
            found = self._doorkeeper.enter(given[0], self.caller.address)
        else:
            found = Denial(400, f"The form has {len(given)} fields {FIELD!r}, expected one.")
        if isinstance(found, str):
            self.open_page(found)
            self.set_header("Location", "./")
            return
        self.set_status(found.status)
        for name, value in (HEADERS | dict(found.headers) | {"Content-Type": HTML}).items():
            self.set_header(name, value)
        self.write(form(self._doorkeeper.section, found.why))


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
