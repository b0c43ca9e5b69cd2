"""How the client is reached over HTTP: address, TLS, and a proxy if one is set.

This module decides what `url`, `ca_file`, `cert_file`, `key_file` and `proxy` mean in [publish]. The proxies
of the environment are read like the standard library reads them (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY,
NO_PROXY). A client on loopback is reached directly, because a proxy elsewhere could not reach it.
"""

import asyncio
import ipaddress
import ssl
import urllib.parse
import urllib.request
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed leaves it out

from ..config import PublishSection, without_password, without_secrets
from ..system.addresses import join_address
from ..system.exits import Failure
from ..system.reasons import reason_of
from ..system.tls import tls_context
from ..system.watched_files import WatchedFiles
from .connection import ClientConnection
from .echoes import basic_credentials, secrets_of, without_echoes

HAPPY_EYEBALLS_S = 0.25  # until a host's next address is tried (RFC 8305, section 8)


class Route:
    """The way to one URL.

    `name`, `receiver`: as a sink's.
    `host`: the client's. `request_line`: the first lines of a request, as this way needs them.
    `authorization`: what the URL says of the header of that name, or "". `tls`: the newest TLS context, None
    for http. `secrets`: what the URLs of client and proxy have in confidence.
    """

    def __init__(self, publish: PublishSection):
        """Raises `Failure` if a setting can't be used."""
        url = publish.url
        self.name, self.receiver = without_secrets(url), without_password(url)
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise Failure(f"publish.url = {self.name!r}: {error}; expected http://host:port/path") from error
        if not host:
            raise Failure(f"publish.url = {self.name!r} names no host; expected http://host:port/path")
        scheme = parts.scheme.lower()
        self.host, self._port = host, port or (443 if scheme == "https" else 80)
        self.tls: WatchedFiles[ssl.SSLContext | None] = WatchedFiles([], lambda: None)
        if scheme == "https":
            files = (publish.ca_file, publish.cert_file, publish.key_file)
            self.tls = WatchedFiles(files, lambda: tls_context("publish.", *files))
        self._proxy = proxy_of(publish.proxy, scheme, self.host, self._port)
        self.secrets = [secret for url in (parts, self._proxy) if url for secret in secrets_of(url)]
        where = parts.netloc.rpartition("@")[2]
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        target = urllib.parse.quote(target, safe="/?:@!$&'()*+,;=%~-._[]")
        headers = {"Host": where}
        if self._proxy is not None and scheme == "http":
            target = f"http://{where}{target}"
            headers |= _to_proxy(self._proxy)
        self.request_line = f"POST {target} HTTP/1.1\r\n{header_lines(headers)}"
        self.authorization = _basic(parts)

    async def connect(self, ends_s: float) -> ClientConnection:
        """Make a connection by `ends_s` (the loop's time).

        Raises `OSError`, `TimeoutError` or `UnicodeError` if that fails; nothing was sent to the client then.
        """
        tls = self.tls.value()
        async with asyncio.timeout_at(ends_s):
            if self._proxy is None:
                return await self._open(self.host, self._port, tls)
            assert self._proxy.hostname is not None
            try:
                connection = await self._open(self._proxy.hostname, self._proxy.port or 80, None)
            except (OSError, UnicodeError) as error:
                raise OSError(f"{self._proxy_name}: {reason_of(error)}") from error
            if tls is not None:
                try:
                    await self._tunnel(connection, tls, ends_s)
                except BaseException:
                    connection.close()
                    raise
            return connection

    async def _open(self, host: str, port: int, tls: ssl.SSLContext | None) -> ClientConnection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: ClientConnection(tls), host, port, ssl=tls, happy_eyeballs_delay=HAPPY_EYEBALLS_S
        )
        return connection

    async def _tunnel(self, connection: ClientConnection, tls: ssl.SSLContext, ends_s: float) -> None:
        """CONNECT through the proxy (RFC 9110, section 9.3.6), then TLS with the client itself."""
        address = join_address(self.host, self._port)
        assert self._proxy is not None
        headers = {"Host": address} | _to_proxy(self._proxy)
        request = f"CONNECT {address} HTTP/1.1\r\n{header_lines(headers)}\r\n"
        try:
            answer = await connection.ask(request.encode(), ends_s, head_only=True)
        except (EOFError, ValueError) as error:
            raise OSError(f"{self._proxy_name} gave no answer to CONNECT ({error})") from error
        told = f"{self._proxy_name} answered CONNECT with {without_echoes(answer, self.secrets).told}"
        if not 200 <= answer.status < 300:
            raise OSError(told)
        if not answer.keeps:  # what came behind it is not of the client
            raise OSError(f"{told} and a body, expected none (a web server, no proxy?)")
        await connection.start_tls(tls, self.host)

    @property
    def _proxy_name(self) -> str:
        assert self._proxy is not None
        return f"the proxy {without_secrets(self._proxy.geturl())}"


def proxy_of(setting: str, scheme: str, host: str, port: int) -> urllib.parse.SplitResult | None:
    """The proxy for a host, or None. Raises `Failure` if the proxy is not an HTTP one."""
    url, named = setting, f"publish.proxy = {without_secrets(setting)!r}"
    if setting == "environment":
        found = urllib.request.getproxies_environment()
        if _is_loopback(host) or proxy_bypass_environment(join_address(host, port), found):
            return None
        url = found.get(scheme) or found.get("all") or ""
        named = f"the environment's proxy for {scheme} is {without_secrets(url)!r}"
    if not url:
        return None
    try:
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme.lower() == "http" and parts.hostname and (parts.port is None or parts.port > 0):
            return parts
    except ValueError:
        pass
    raise Failure(f'{named}, expected http://host:port; publish.proxy = "" goes without')


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _basic(parts: urllib.parse.SplitResult) -> str:
    """The user and the password of a URL as the value of a header, "" without them."""
    credentials = basic_credentials(parts)
    return f"Basic {credentials}" if credentials else ""


def _to_proxy(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    authorization = _basic(proxy)
    return {"Proxy-Authorization": authorization} if authorization else {}


def header_lines(headers: dict[str, str]) -> str:
    """Headers as the lines of a request, each with its end."""
    return "".join(f"{name}: {headers[name]}\r\n" for name in headers)
