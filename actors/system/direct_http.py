"""HTTP to our own addresses and to those of NSQ: never through a proxy, whatever the environment says.

No redirect is followed: the program that answers must not choose which one we ask next.
"""

import functools
import urllib.request
from http.client import HTTPResponse
from typing import cast


def open_directly(request: str | urllib.request.Request, timeout_s: float) -> HTTPResponse:
    """Do as `urllib.request.urlopen` does, without a proxy. Waits at most `timeout_s` for the next bytes."""
    return cast(HTTPResponse, _opener().open(request, timeout=timeout_s))


def opener(*more: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Return what opens http URLs, and what `more` opens. It follows no redirect: that is an `HTTPError`."""
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        *more,
    ):
        director.add_handler(handler)
    return director


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    return opener(urllib.request.HTTPSHandler())
