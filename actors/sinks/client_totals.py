"""Asks the client which totals it has: at `publish.totals_url`, or the reference client."""

import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from http.client import HTTPException
from typing import Annotated, Literal, TypeAlias
from urllib.error import HTTPError
from urllib.parse import SplitResult, urlsplit

import msgspec

from ..config import ClientSection, PublishSection, Settings, SinkKind, sent_token, without_secrets
from ..core import guids
from ..core.total_columns import RECORDS, NoTotals, TotalColumns, pack_totals
from ..system.addresses import leads_to
from ..system.direct_http import opener
from ..system.reasons import reason_of
from ..system.tls import tls_context
from .answers import fit_for_log
from .echoes import basic_credentials, hide, secrets_of
from .route import proxy_of

TOTALS_TIMEOUT_S = 5.0  # for the next bytes
ANSWER_TIMEOUT_S = 20.0  # for the whole answer, and to read it: the dispatcher starts only then
PART_BYTES = 1 << 20  # of JSON, that become Python's numbers at once
TOTALS_BYTES_MAX = 1 << 28  # more than can be read in that time
AskClient: TypeAlias = "Callable[[Settings], AskedTotals | None]"
_decoder = msgspec.json.Decoder(dict[str, Annotated[int, msgspec.Meta(ge=0)]])
_sum_decoder = msgspec.json.Decoder(dict[Literal["sum"], int])


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


class AskedTotals:
    """The totals of a client, which is asked for them when they are needed. All may raise `NoTotals`."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._all: TotalColumns | None = None

    def begin_sum(self, factors: bytes) -> Callable[[], int | None]:
        """Ask for their `sum_of`; only the reference client knows it. Returns what waits for the answer.

        That returns None if all totals have to be asked for.
        """
        if self._settings.publish.totals_url:
            return lambda: None
        answer = _asking(self._settings, f"sum={factors.hex()}")

        def wait_for_sum() -> int | None:
            found = answer()
            if isinstance(found, int):
                return found
            self._all = found  # an earlier version: it sends all at once
            return None

        return wait_for_sum

    def all(self) -> TotalColumns:
        """All of them."""
        if self._all is None:
            found = _asking(self._settings)()
            assert isinstance(found, TotalColumns), "only who asks for a sum gets one"
            self._all = found
        return self._all


def asked_totals(settings: Settings) -> AskedTotals | None:
    """The totals of the client that can be asked; None if none can be."""
    return AskedTotals(settings) if totals_url_of(settings) else None


def totals_of(settings: Settings) -> TotalColumns | None:
    """Ask the client for all its totals. Returns None if there is no client that can be asked.

    Raises `NoTotals`, or `Failure` if a setting can't be used.
    """
    asked = asked_totals(settings)
    return None if asked is None else asked.all()


def _asking(settings: Settings, query: str = "") -> Callable[[], TotalColumns | int]:
    """Begin to ask, in a thread. Returns what waits for the answer, which raises `NoTotals` or `Failure`.

    A thread, as each next byte of an answer may come in time and its end never. Millions of totals take long
    to read, too, and a child that is not ready after a minute counts as hung.
    """
    url, secrets = totals_url_of(settings), list[str]()
    answer: Future[TotalColumns | int] = Future()
    end_s = time.monotonic() + ANSWER_TIMEOUT_S

    def ask() -> None:
        try:
            proxy = _proxy_to(url, settings.publish)
            secrets.extend(one for found in (urlsplit(url), proxy) if found for one in secrets_of(found))
            token = _token_for(url, settings)
            secrets.extend([token] if token else [])
            answer.set_result(_asked(url, proxy, settings.publish, token, query))
        except Exception as error:  # noqa: BLE001 - who waits raises it
            answer.set_exception(error)

    def wait_for_answer() -> TotalColumns | int:
        try:
            if not wait([answer], max(0.0, end_s - time.monotonic())).done:
                raise TimeoutError(f"its totals were not there and read within {ANSWER_TIMEOUT_S:g} s")
            return answer.result()
        except (OSError, HTTPException, ValueError, RecursionError, msgspec.MsgspecError) as error:
            why = hide(_why(error), secrets)
            raise NoTotals(
                f"{without_secrets(url)}: the client can't be asked for its totals ({why}), "
                'expected 200 with {"<GUID>": total}. Without them it is not noticed if all of the state is '
                "an older copy"
            ) from error

    threading.Thread(target=ask, name="totals", daemon=True).start()
    return wait_for_answer


def _proxy_to(url: str, publish: PublishSection) -> SplitResult | None:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return proxy_of(publish.proxy, parts.scheme, parts.hostname or "", port)


def _token_for(url: str, settings: Settings) -> str:
    """The token of the reference client if the URL leads to it, else "". Raises `Failure`."""
    own = own_client(settings)
    return sent_token(own, "client") if own is not None and leads_to(url, own.address) else ""


def _asked(
    url: str, proxy: SplitResult | None, publish: PublishSection, token: str, query: str
) -> TotalColumns | int:
    parts = urlsplit(url)
    scheme, credentials = parts.scheme, basic_credentials(parts)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query or parts.query).geturl()
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
    if is_records:
        return TotalColumns.from_records(content)
    return _sum_decoder.decode(content)["sum"] if query else _parsed(content)


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
