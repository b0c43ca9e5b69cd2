"""How the client is reached over HTTP: address, TLS, and a proxy if one is set.

This module decides what `publish.url`, `publish.ca_file` and `publish.proxy` mean. The proxies of the
environment are read like the standard library reads them (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY). A
client on loopback is reached directly, because a proxy elsewhere could not reach it.
"""

import asyncio
import base64
import ipaddress
import os
import socket
import ssl
import urllib.parse
import urllib.request
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed leaves it out

from ..config import PublishSection, without_password
from ..system.addresses import join_address
from ..system.exits import Failure
from .answers import ANSWER_HEAD_BYTES_MAX, read_head

HAPPY_EYEBALLS_S = 0.25  # until a host's next address is tried (RFC 8305, section 8)


class SinkConnection:
    """A connection to the client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer

    @property
    def usable(self) -> bool:
        """Whether it is open, and holds no bytes that would be taken for the answer to another request."""
        return not (self.unasked or self.reader.at_eof() or self.writer.is_closing())

    @property
    def unasked(self) -> bool:
        """Whether bytes came that nobody has read."""
        return bool(self.reader._buffer)  # type: ignore[attr-defined]  # asyncio has no other way to peek

    def close(self) -> None:
        """Close it at once."""
        self.writer.transport.abort()


class Route:
    """The way to one URL. `target`: the request's target. `headers`: the headers that this way needs."""

    def __init__(self, publish: PublishSection):
        """Raises `Failure` if a setting can't be used."""
        url = publish.url
        self.name = without_password(url)
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise Failure(f"publish.url = {self.name!r}: {error}; expected http://host:port/path") from error
        if not host:
            raise Failure(f"publish.url = {self.name!r} names no host; expected http://host:port/path")
        scheme = parts.scheme.lower()
        self._host, self._port = host, port or (443 if scheme == "https" else 80)
        self._tls = tls_context(publish.ca_file) if scheme == "https" else None
        self._proxy = proxy_of(publish.proxy, scheme, self._host, self._port)
        where = parts.netloc.rpartition("@")[2]
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.target = urllib.parse.quote(target, safe="/?:@!$&'()*+,;=%~-._[]")
        self.headers = {"Host": where}
        self.headers |= _basic("Authorization", parts)
        if self._proxy is not None and self._tls is None:
            self.target = f"http://{where}{self.target}"
            self.headers |= _basic("Proxy-Authorization", self._proxy)

    async def connect(self) -> SinkConnection:
        """Make a connection. Raises `OSError` if that fails; nothing was sent to the client then."""
        if self._proxy is None:
            return await self._open(self._host, self._port, self._tls)
        assert self._proxy.hostname is not None
        try:
            connection = await self._open(self._proxy.hostname, self._proxy.port or 80, None)
        except OSError as error:
            raise OSError(f"{self._proxy_name}: {reason_of(error)}") from error
        if self._tls is not None:
            try:
                await self._tunnel(connection, self._tls)
            except BaseException:
                connection.close()
                raise
        return connection

    async def _open(self, host: str, port: int, tls: ssl.SSLContext | None) -> SinkConnection:
        return SinkConnection(
            *await asyncio.open_connection(
                host, port, ssl=tls, limit=ANSWER_HEAD_BYTES_MAX, happy_eyeballs_delay=HAPPY_EYEBALLS_S
            )
        )

    async def _tunnel(self, connection: SinkConnection, tls: ssl.SSLContext) -> None:
        """CONNECT through the proxy (RFC 9110, section 9.3.6), then TLS with the client itself."""
        address = join_address(self._host, self._port)
        assert self._proxy is not None
        headers = {"Host": address} | _basic("Proxy-Authorization", self._proxy)
        lines = [f"CONNECT {address} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
        connection.writer.write("\r\n".join([*lines, "", ""]).encode())
        try:
            answer = await read_head(connection.reader)
        except (EOFError, ValueError) as error:
            raise OSError(f"{self._proxy_name} gave no answer to CONNECT ({error})") from error
        if not 200 <= answer.status < 300 or connection.unasked:
            told = f"{answer.status} {answer.reason}".rstrip()
            raise OSError(f"{self._proxy_name} answered CONNECT with {told}")
        await connection.writer.start_tls(tls, server_hostname=self._host)

    @property
    def _proxy_name(self) -> str:
        assert self._proxy is not None
        return f"the proxy {without_password(self._proxy.geturl())}"


def tls_context(ca_file: str) -> ssl.SSLContext:
    """A TLS context that trusts the system's authorities, or those of a file. Raises `Failure`."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # ssl.SSLError is one
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise Failure(
            f"publish.ca_file = {ca_file!r} can't be used ({why}); expected a file of certificates in PEM"
        ) from error


def proxy_of(setting: str, scheme: str, host: str, port: int) -> urllib.parse.SplitResult | None:
    """The proxy for a host, or None. Raises `Failure` if the proxy is not an HTTP one."""
    url, named = setting, f"publish.proxy = {without_password(setting)!r}"
    if setting == "environment":
        found = urllib.request.getproxies_environment()
        if _is_loopback(host) or proxy_bypass_environment(join_address(host, port), found):
            return None
        url = found.get(scheme) or found.get("all") or ""
        named = f"the environment's proxy for {scheme} is {without_password(url)!r}"
    if not url:
        return None
    parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
    try:
        usable = parts.scheme.lower() == "http" and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise Failure(f'{named}, expected http://host:port; publish.proxy = "" goes without')
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _basic(header: str, parts: urllib.parse.SplitResult) -> dict[str, str]:
    """The user and the password of a URL as a header."""
    if parts.username is None:
        return {}
    pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
    return {header: f"Basic {base64.b64encode(pair.encode()).decode()}"}


def reason_of(error: Exception) -> str:
    """The reason why there is no connection, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there (connection refused)"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror) and error.errno:
        return os.strerror(error.errno)  # asyncio puts the call that failed into its own text
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
