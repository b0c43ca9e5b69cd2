"""Routes of tornado whose paths are compared as text, where they are no patterns.

tornado compiles a regular expression for each route, which is a tenth of what a small server does at its
start, and tries them one after the other at each request.
"""

from collections.abc import Iterable
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, PathMatches
from tornado.web import RequestHandler

Route = tuple[str, type[RequestHandler], dict[str, Any]]
_OF_PATTERNS = frozenset(r"()[]{}*+?\^$|")  # a dot in a path is a dot


class ExactPath(Matcher):
    """Matches one path."""

    def __init__(self, path: str):
        self.path = path

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """See tornado's `Matcher`: the arguments for the handler, None for another path."""
        return {} if request.path == self.path else None


def by_path(routes: Iterable[Route]) -> list[tuple[Matcher, type[RequestHandler], dict[str, Any]]]:
    """Return the rules for an application, in this order. A path that is a pattern stays one."""
    return [
        (PathMatches(path) if _OF_PATTERNS.intersection(path) else ExactPath(path), handler, arguments)
        for path, handler, arguments in routes
    ]
