"""How the client is reached over HTTP: its address, TLS, and a proxy if one is set.

Owns what `publish.url`, `publish.ca_file` and `publish.proxy` mean, and the connections made so. The
environment's proxies are read as the standard library reads them (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY,
NO_PROXY); a client on this machine's loopback is reached directly, because no proxy elsewhere can.
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

from ..config import Publish, without_password
from ..system.exits import Failure
from .answers import ANSWER_HEAD_BYTES_MAX, read_head

HAPPY_EYEBALLS_S = 0.25  # RFC 8305, section 8: a host's next address is tried after so long


class Connection:
    """A connection to the client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer

    @property
    def usable(self) -> bool:
        """Whether another request may go on it: open, and nothing lies in it that nobody asked for,
        as that would be taken for the next answer."""
        return not (self.unasked or self.reader.at_eof() or self.writer.is_closing())

    @property
    def unasked(self) -> bool:
        """Whether something lies in it that nobody has read."""
        return bool(self.reader._buffer)  # type: ignore[attr-defined]  # asyncio has no other way to peek

    def close(self) -> None:
        """Close it at once."""
        self.writer.transport.abort()


class Route:
    """The way to one URL. `target`: the request's target; `headers`: those that the way asks for."""

    def __init__(self, publish: Publish):
        """Raises `Failure` when a setting can't be followed."""
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
        self._tls = _tls(publish.ca_file) if scheme == "https" else None
        self._proxy = _proxy(publish.proxy, scheme, self._host, self._port)
        where = parts.netloc.rpartition("@")[2]
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.target = urllib.parse.quote(target, safe="/?:@!$&'()*+,;=%~-._[]")
        self.headers = {"Host": where}
        self.headers |= _basic("Authorization", parts)
        if self._proxy is not None and self._tls is None:
            self.target = f"http://{where}{self.target}"
            self.headers |= _basic("Proxy-Authorization", self._proxy)

    async def connect(self) -> Connection:
        """A fresh connection. Raises `OSError` when there is none; nothing was asked then."""
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

    async def _open(self, host: str, port: int, tls: ssl.SSLContext | None) -> Connection:
        return Connection(
            *await asyncio.open_connection(
                host, port, ssl=tls, limit=ANSWER_HEAD_BYTES_MAX, happy_eyeballs_delay=HAPPY_EYEBALLS_S
            )
        )

    async def _tunnel(self, connection: Connection, tls: ssl.SSLContext) -> None:
        """Through the proxy to the client (RFC 9110, section 9.3.6), and TLS with the client itself."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        assert self._proxy is not None
        headers = {"Host": f"{host}:{self._port}"} | _basic("Proxy-Authorization", self._proxy)
        lines = [f"CONNECT {host}:{self._port} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
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


def _tls(ca_file: str) -> ssl.SSLContext:
    """TLS that believes the system's authorities, or only those in a file. Raises `Failure`."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # ssl.SSLError is one
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise Failure(
            f"publish.ca_file = {ca_file!r} can't be used ({why}); expected a file of certificates in PEM"
        ) from error


def _proxy(setting: str, scheme: str, host: str, port: int) -> urllib.parse.SplitResult | None:
    """The proxy on the way to a host, or None. Raises `Failure` for one of a kind that we don't speak."""
    url, named = setting, f"publish.proxy = {without_password(setting)!r}"
    if setting == "environment":
        found = urllib.request.getproxies_environment()
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if _is_loopback(host) or proxy_bypass_environment(where, found):
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
    """A user and a password in a URL, as a header."""
    if parts.username is None:
        return {}
    pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
    return {header: f"Basic {base64.b64encode(pair.encode()).decode()}"}


def reason_of(error: Exception) -> str:
    """Why there is no connection, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there (connection refused)"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror) and error.errno:
        return os.strerror(error.errno)  # asyncio puts the call that failed into its own text
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
