"""Asks the client which totals it has: at `publish.totals_url`, or the reference client."""

import logging
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from http.client import HTTPException
from typing import Annotated, TypeAlias
from urllib.error import HTTPError
from urllib.parse import SplitResult, urlsplit

import msgspec

from ..config import ClientSection, PublishSection, Settings, SinkKind, sent_token, without_secrets
from ..core import guids
from ..core.total_columns import RECORDS, TotalColumns, pack_totals
from ..system.addresses import leads_to
from ..system.direct_http import opener
from ..system.reasons import reason_of
from ..system.tls import tls_context
from .answers import fit_for_log
from .echoes import basic_credentials, hide, secrets_of
from .route import proxy_of

log = logging.getLogger(__name__)

TOTALS_TIMEOUT_S = 5.0  # for the next bytes
ANSWER_TIMEOUT_S = 20.0  # for the whole answer, and to read it: the dispatcher starts only then
PART_BYTES = 1 << 20  # of JSON, that become Python's numbers at once
TOTALS_BYTES_MAX = 1 << 28  # more than can be read in that time
AskClient: TypeAlias = "Callable[[Settings], TotalColumns | None]"
_decoder = msgspec.json.Decoder(dict[str, Annotated[int, msgspec.Meta(ge=0)]])


def totals_url_of(settings: Settings) -> str:
    """Where the client can be asked for its totals; "" if it can't."""
    publish, own = settings.publish, own_client(settings)
    if publish.totals_url or own is None:
        return publish.totals_url
    return f"http://{own.address}/totals"


def own_client(settings: Settings) -> ClientSection | None:
    """The section of the reference client if it gets the publishes, else None."""
    publish, client = settings.publish, settings.client
    if publish.sink_kind is not SinkKind.URL or not client.enabled:
        return None
    try:
        return client if leads_to(publish.url, client.address) else None
    except ValueError:
        return None  # it can't be used, and `Route` says why


def ask_totals(settings: Settings) -> TotalColumns | None:
    """The totals that the client has. None if it can't be asked, or did not answer.

    A failure is logged. Raises `Failure` if a setting can't be used.
    """
    try:
        return totals_of(settings)
    except NoTotals as error:
        log.warning("%s", error)
        return None


class NoTotals(Exception):
    """The client did not say its totals, and why, in words for the log."""


def totals_of(settings: Settings) -> TotalColumns | None:
    """As `ask_totals`, but raises `NoTotals` instead of logging it."""
    url = totals_url_of(settings)
    if not url:
        return None
    secrets: list[str] = []
    try:
        proxy = _proxy_to(url, settings.publish)
        secrets += [secret for found in (urlsplit(url), proxy) if found for secret in secrets_of(found)]
        token = _token_for(url, settings)
        secrets += [token] if token else []
        return _within(ANSWER_TIMEOUT_S, lambda: _asked(url, proxy, settings.publish, token))
    except (OSError, HTTPException, ValueError, RecursionError, msgspec.MsgspecError) as error:
        why = hide(_why(error), secrets)
        raise NoTotals(
            f"{without_secrets(url)}: the client can't be asked for its totals ({why}), "
            'expected 200 with {"<GUID>": total}. Without them it is not noticed if all of the state is an '
            "older copy"
        ) from error


def _within(timeout_s: float, get: Callable[[], TotalColumns]) -> TotalColumns:
    """Call `get` in a thread, as each next byte of an answer may come in time and its end never.

    Millions of totals take long to read, too, and a child that is not ready after a minute counts as hung.
    """
    answer: Future[TotalColumns] = Future()

    def run() -> None:
        try:
            answer.set_result(get())
        except Exception as error:  # noqa: BLE001 - the caller raises it
            answer.set_exception(error)

    threading.Thread(target=run, name="totals", daemon=True).start()
    if not wait([answer], timeout_s).done:
        raise TimeoutError(f"its totals were not there and read within {timeout_s:g} s")
    return answer.result()


def _proxy_to(url: str, publish: PublishSection) -> SplitResult | None:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return proxy_of(publish.proxy, parts.scheme, parts.hostname or "", port)


def _token_for(url: str, settings: Settings) -> str:
    """The token of the reference client if the URL leads to it, else "". Raises `Failure`."""
    own = own_client(settings)
    return sent_token(own, "client") if own is not None and leads_to(url, own.address) else ""


def _asked(url: str, proxy: SplitResult | None, publish: PublishSection, token: str) -> TotalColumns:
    parts = urlsplit(url)
    scheme, credentials = parts.scheme, basic_credentials(parts)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    headers = {"Authorization": f"Basic {credentials}"} if credentials else {}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    if not publish.totals_url:  # the reference client, which knows it
        headers["Accept"] = RECORDS
    handlers: list[urllib.request.BaseHandler] = []
    if proxy:
        handlers.append(urllib.request.ProxyHandler({scheme: proxy.geturl()}))
    if scheme == "https":
        handlers.append(urllib.request.HTTPSHandler(context=tls_context("publish.", publish.ca_file)))
    request = urllib.request.Request(bare, headers=headers)
    with opener(*handlers).open(request, timeout=TOTALS_TIMEOUT_S) as answer:
        content: bytes = answer.read(TOTALS_BYTES_MAX + 1)
        is_records = answer.headers.get("Content-Type", "") == RECORDS
    if len(content) > TOTALS_BYTES_MAX:
        raise ValueError(f"its answer has more than {TOTALS_BYTES_MAX} bytes")
    return TotalColumns.from_records(content) if is_records else _parsed(content)


def _why(error: Exception) -> str:
    if isinstance(error, HTTPError):
        error.close()
        told = f"HTTP {error.code} {fit_for_log(error.reason)}"
        if 300 <= error.code < 400:
            leads = fit_for_log(error.headers.get("Location", "nowhere"))
            told += f" to {leads}; redirects are not followed: set publish.totals_url to where it leads"
        return told
    return fit_for_log(reason_of(error))


def _parsed(content: bytes) -> TotalColumns:
    """The totals in a JSON object. Raises `ValueError`, `msgspec.MsgspecError`."""
    try:
        parts = [_columns(_decoder.decode(part)) for part in _parts(content)]
    except msgspec.MsgspecError:  # it is cut in a wrong place, where a key has a comma; or it is wrong
        return _columns(_decoder.decode(content))
    return TotalColumns(b"".join(one.videos for one in parts), b"".join(one.totals for one in parts))


def _parts(content: bytes) -> Iterator[bytes]:
    """Objects with some of an object's members each, so that not all are Python's numbers at once."""
    content = content.strip()
    if not content.startswith(b"{"):
        yield content
        return
    start, end = 0, content.find(b",", PART_BYTES)
    while end >= 0:
        yield b"{" + content[start + 1 : end] + b"}"
        start, end = end, content.find(b",", end + PART_BYTES)
    yield b"{" + content[start + 1 :]


def _columns(totals: dict[str, int]) -> TotalColumns:
    return TotalColumns(guids.parse_all(totals), pack_totals(totals.values()))
