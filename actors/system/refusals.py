"""The answers to requests that a listener refuses: the reason in JSON, or the form for the token."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from . import session_form
from .doorkeeper import Denial, Doorkeeper
from .http_stream import JSON

_NONE: Mapping[str, str] = MappingProxyType({})


class Answer(NamedTuple):
    """The answer to a request that is refused. `more`: further headers."""

    status: int
    body: bytes
    content_type: str = JSON
    more: Mapping[str, str] = _NONE


class Refusals:
    """The answers of one listener. `error_key`: the key of the reason."""

    def __init__(self, error_key: str, doorkeeper: Doorkeeper):
        self._error_key = error_key
        self._doorkeeper = doorkeeper

    def answer(self, status: int, why: str, more: Mapping[str, str] = _NONE) -> Answer:
        """The reason as JSON."""
        return Answer(status, json.dumps({self._error_key: why}).encode(), JSON, more)

    def denied(self, method: str, path: str, denial: Denial) -> Answer:
        """What somebody gets who has not shown the token: the form, where a browser asks for the page."""
        more = {"Cache-Control": "no-store", **denial.headers}
        if denial.status == 401 and path == "/" and method in ("GET", "HEAD"):
            page = session_form.form(self._doorkeeper.section)
            return Answer(401, page, session_form.HTML, more | session_form.HEADERS)
        return self.answer(denial.status, denial.why, more)
