"""HTTP to our own addresses and to those of NSQ: never through a proxy, whatever the environment says."""

import functools
import urllib.request
from http.client import HTTPResponse
from typing import cast


def open_directly(request: str | urllib.request.Request, timeout_s: float) -> HTTPResponse:
    """Do as `urllib.request.urlopen` does, without a proxy. Waits at most `timeout_s` for the next bytes."""
    return cast(HTTPResponse, _opener().open(request, timeout=timeout_s))


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
