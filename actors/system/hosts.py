"""Who may ask a listener over HTTP: the host names that it answers to, and which page may change something.

Any web page can send requests to a listener of this machine. It cannot read the answers, unless its own name
leads here (DNS rebinding); but then the Host header has that name. So a listener answers to its own names
alone. A browser also says which page asks (Origin, Sec-Fetch-Site), and only a page of the listener itself
may change anything, or have it read anything: even an answer that nobody may see costs work. A link from
another page opens ours all the same. Other programs, as NSQ's clients, curl and Prometheus, send no such
header.

Pure. Whether an address is one of this machine's is asked of `Listener.is_own`.
"""

import functools
import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

READING = ("GET", "HEAD", "OPTIONS")
_FOLLOWING = ("GET", "HEAD")  # what a browser sends for a link
_SHOWN_CHARACTERS_MAX = 200
_LINK_LOCAL = r"\[fe[89ab][0-9a-f]:[0-9a-f:.]+%25[a-z0-9._~-]{1,64}\]"  # with an interface (RFC 6874)
_HOST = re.compile(
    rf"(\[[0-9a-f:.]+\]|{_LINK_LOCAL}|[a-z0-9_.-]{{1,255}})(?::([0-9]{{1,5}}))?", re.IGNORECASE | re.ASCII
)
_URL = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.ASCII | re.DOTALL)
_PORTS = {"http": 80, "https": 443}
_OWN_PAGES = ("same-origin", "none")  # "none": the user typed the address


def _none_is_own(address: str) -> bool:
    return False


class Listener(NamedTuple):
    """How a listener may be called, besides loopback names.

    `setting`: the key of its `allowed_hosts`. `hosts`: names and addresses, as `plain` makes them. `is_own`:
    whether an IP address is one of this machine's; asked where the listener is bound to all of them.
    """

    setting: str
    hosts: frozenset[str]
    is_own: Callable[[str], bool] = _none_is_own


class Refusal(NamedTuple):
    """The HTTP status that a request is refused with, and what is wrong with it, in words."""

    status: int
    why: str


@functools.lru_cache(maxsize=256)
def plain(host: str) -> str:
    """A host without port as it is compared: in lower case, without brackets and without a dot at the end.

    An IP address gets its usual form, without an interface: their names differ from machine to machine.
    """
    name = host.lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]").partition("%")[0])
    except ValueError:
        return name
    return str(getattr(address, "ipv4_mapped", None) or address)


def host_allowed(host: str, listener: Listener) -> bool:
    """Whether a listener answers to a Host header. `host`: a name or an address, with or without a port."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = plain(found[1])
    if name == "localhost" or name in listener.hosts:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback or listener.is_own(name)
    except ValueError:
        return False


def split_target(target: str) -> tuple[str, str]:
    """The host of a request's target, "" where it has none, and the target from the path on.

    A proxy sends the whole URL, and then its host counts (RFC 9112, 3.2.2).
    """
    url = _URL.fullmatch(target)
    if url is None:
        return "", target
    return url[2] or "?", url[3] if url[3].startswith("/") else f"/{url[3]}"


def refusal(
    method: str, target: str, header: Callable[[str], list[str]], listener: Listener
) -> Refusal | None:
    """Why a request is refused; None if it is not. `header`: returns all values of a header."""
    hosts = header("Host")
    if len(hosts) != 1:
        return Refusal(400, f"the request has {len(hosts)} Host headers, expected one")
    in_target, _ = split_target(target)
    for host in filter(None, (hosts[0], in_target)):
        if not host_allowed(host, listener):
            return _refused_host(host, listener)
    if not hosts[0]:
        return Refusal(400, "the Host header is empty, expected the name of this listener")
    if not _is_text(target):
        return Refusal(
            400, "the path or the query has bytes that are no UTF-8, expected UTF-8, each byte as %xx"
        )
    if method in _FOLLOWING and _opens_a_page(header):
        return None
    return _foreign(in_target or hosts[0], header, method in READING)


def _is_text(target: str) -> bool:
    """Whether a target, whose characters are its bytes, stands for UTF-8."""
    try:
        unquote_to_bytes(target.encode("latin-1")).decode()
    except UnicodeDecodeError:
        return False
    return True


def _opens_a_page(header: Callable[[str], list[str]]) -> bool:
    """Whether a browser asks because the user follows a link: no frame, no image, nothing in advance."""
    is_page = (header("Sec-Fetch-Mode"), header("Sec-Fetch-Dest")) == (["navigate"], ["document"])
    return is_page and not header("Sec-Purpose")


def _refused_host(host: str, listener: Listener) -> Refusal:
    shown = host[:_SHOWN_CHARACTERS_MAX]
    if _HOST.fullmatch(host) is None:
        return Refusal(400, f"the Host header is {shown!r}, expected a host name or an address")
    return Refusal(
        403,
        f"this listener does not answer to the name {shown!r}, expected a loopback name or the address that "
        f"it listens on; to allow another name, add it to {listener.setting}",
    )


def _foreign(host: str, header: Callable[[str], list[str]], is_reading: bool) -> Refusal | None:
    """Why a request of a web page is refused; None if no page, or one of ours, asks.

    The Origin is compared only where the request changes something: a page of ours that reads sends none.
    """
    asks = "asks to read" if is_reading else "asks for a change"
    for origin in [] if is_reading else header("Origin"):
        if not _is_origin_of(origin, host):
            shown = origin[:_SHOWN_CHARACTERS_MAX]
            return Refusal(403, f"a page of {shown!r} {asks} (Origin), expected a page of {host!r} itself")
    for site in header("Sec-Fetch-Site"):
        if site not in _OWN_PAGES:
            shown = site[:_SHOWN_CHARACTERS_MAX]
            return Refusal(403, f"another page {asks} (Sec-Fetch-Site: {shown}), expected a page of {host!r}")
    return None


def _is_origin_of(origin: str, host: str) -> bool:
    """Whether an Origin header ("scheme://host:port") means the same host and port as a Host header."""
    url = _URL.fullmatch(origin)
    if url is None or url[3]:
        return False
    port = _PORTS[url[1].lower()]
    return _place(url[2], port) == _place(host, port) is not None


def _place(host: str, port: int) -> tuple[str, int] | None:
    """Host and port of a "host:port" or a host, as they are compared. `port`: where none is named."""
    found = _HOST.fullmatch(host)
    return None if found is None else (plain(found[1]), int(found[2] or port))
