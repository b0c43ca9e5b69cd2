"""Asks the client which totals it has: at `publish.totals_url`, or the reference client."""

import logging
import urllib.request
from http.client import HTTPException
from typing import Annotated
from urllib.error import HTTPError
from urllib.parse import urlsplit

import msgspec

from ..config import PublishSection, Settings, SinkKind, without_password
from ..core import guids
from ..system.addresses import leads_to
from ..system.reasons import reason_of
from ..system.tls import tls_context
from .route import proxy_of

log = logging.getLogger(__name__)

TOTALS_TIMEOUT_S = 5.0  # for the next bytes
TOTALS_BYTES_MAX = 1 << 28  # some five million videos
_decoder = msgspec.json.Decoder(dict[str, Annotated[int, msgspec.Meta(ge=0)]])


def totals_url_of(settings: Settings) -> str:
    """Where the client can be asked for its totals; "" if it can't."""
    publish = settings.publish
    if publish.totals_url or publish.sink_kind is not SinkKind.URL:
        return publish.totals_url
    address = settings.client.address
    return f"http://{address}/totals" if settings.client.enabled and leads_to(publish.url, address) else ""


def ask_totals(settings: Settings) -> dict[bytes, int] | None:
    """The totals that the client has, by video (16 bytes). None if it can't be asked, or did not answer.

    A failure is logged. Raises `Failure` if a setting can't be used.
    """
    url = totals_url_of(settings)
    if not url:
        return None
    try:
        return _parsed(_get(url, settings.publish))
    except (OSError, HTTPException, ValueError, RecursionError, msgspec.MsgspecError) as error:
        log.warning(
            '%s: the client can\'t be asked for its totals (%s), expected 200 with {"<GUID>": total}. '
            "Without them it is not noticed if all of the state is an older copy",
            without_password(url),
            _why(error),
        )
        return None


def _get(url: str, publish: PublishSection) -> bytes:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    proxy = proxy_of(publish.proxy, parts.scheme, parts.hostname or "", port)
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.ProxyHandler({parts.scheme: proxy.geturl()} if proxy else {})
    ]
    if parts.scheme == "https":
        handlers.append(urllib.request.HTTPSHandler(context=tls_context("publish.", publish.ca_file)))
    with urllib.request.build_opener(*handlers).open(url, timeout=TOTALS_TIMEOUT_S) as answer:
        content: bytes = answer.read(TOTALS_BYTES_MAX + 1)
    if len(content) > TOTALS_BYTES_MAX:
        raise ValueError(f"its answer has more than {TOTALS_BYTES_MAX} bytes")
    return content


def _why(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return reason_of(error)


def _parsed(content: bytes) -> dict[bytes, int]:
    return {guids.parse(video): total for video, total in _decoder.decode(content).items()}
