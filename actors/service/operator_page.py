"""The operator's page at the admin address: its files, as they were when the service started.

The page asks /status by a relative link, so it works under any path of a reverse proxy. Its policy allows no
inline script and no text that becomes markup: a client's answer, which the page shows, can't run anything.
"""

import pathlib
from typing import Any

import tornado.web

from ..system.http_server import OwnHandler

_PATH = pathlib.Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)


def routes() -> list[tuple[str, type[tornado.web.RequestHandler], dict[str, Any]]]:
    """Return the routes, for tornado."""
    return [
        (path, _File, {"content": (_PATH / name).read_bytes(), "content_type": content_type})
        for path, (name, content_type) in _FILES.items()
    ]


class _File(OwnHandler):
    def initialize(self, content: bytes, content_type: str) -> None:
        self._content, self._content_type = content, content_type

    def get(self) -> None:
        # The browser asks each time whether the file has changed; tornado compares the Etag, and answers 304.
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Type", self._content_type)
        self.set_header("Content-Security-Policy", _SECURITY_POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.write(self._content)
