"""Resolves host names without holding up the loop, however long a name server takes.

A lookup of a name blocks its thread. So each name has a thread of its own while it is looked up. Callers that
ask for the same name share that lookup, and a caller waits `TIMEOUT_S` at most. An address needs no lookup.
"""

import asyncio
import ipaddress
import socket
import threading

TIMEOUT_S = 5.0
LOOKUPS_MAX = 64  # threads that wait for name servers at the same time

_lookups: dict[tuple[str, asyncio.AbstractEventLoop], asyncio.Future[list[str]]] = {}


async def resolve(host: str, timeout_s: float = TIMEOUT_S) -> list[str]:
    """Return the addresses of a host, in the order to try them, one at least. `host`: without brackets.

    IPv4 addresses come first. Raises `OSError` if the host has no address, or if no name server says so
    within `timeout_s`.
    """
    if is_address(host):
        return [host]
    try:
        return await asyncio.wait_for(asyncio.shield(_lookup(host)), timeout_s)
    except TimeoutError:
        raise OSError(f"no name server gave an address of {host} within {timeout_s:g} s") from None


def is_address(host: str) -> bool:
    """Whether this is an IPv4 or an IPv6 address, and no name. An IPv6 address may have a zone."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _lookup(host: str) -> asyncio.Future[list[str]]:
    loop = asyncio.get_running_loop()
    key = (host, loop)
    found = _lookups.get(key)
    if found is None:
        if len(_lookups) >= LOOKUPS_MAX:
            raise OSError(f"{LOOKUPS_MAX} names wait for a name server, so {host} is not looked up now")
        found = _lookups[key] = loop.create_future()
        found.add_done_callback(lambda done: _ended(key, done))
        # A thread of an executor would hold up the end of the process until the name server answers.
        threading.Thread(target=_run, args=(host, found), daemon=True, name=f"look up {host}").start()
    return found


def _ended(key: tuple[str, asyncio.AbstractEventLoop], lookup: asyncio.Future[list[str]]) -> None:
    del _lookups[key]
    if not lookup.cancelled():
        lookup.exception()  # marked as seen: no caller may be left that waits


def _run(host: str, future: asyncio.Future[list[str]]) -> None:
    try:
        found = _look_up(host)
    except (OSError, UnicodeError) as error:
        _tell(future, _failure(host, error))
    else:
        _tell(future, found)


def _failure(host: str, error: OSError | UnicodeError) -> OSError:
    # A label that is too long or empty raises UnicodeError.
    why = error.strerror if isinstance(error, OSError) else "a name that cannot be one"
    return OSError(f"{host} has no address: {why or error}")


def _tell(future: asyncio.Future[list[str]], result: list[str] | OSError) -> None:
    def settle() -> None:
        if future.done():
            return
        if isinstance(result, OSError):
            future.set_exception(result)
        else:
            future.set_result(result)

    loop = future.get_loop()
    if not loop.is_closed():
        try:
            loop.call_soon_threadsafe(settle)
        except RuntimeError:
            pass  # the loop was closed meanwhile


def _look_up(host: str) -> list[str]:
    found = socket.getaddrinfo(host, 0, socket.AF_UNSPEC, socket.SOCK_STREAM)
    return sorted(dict.fromkeys(str(where[0]) for *_, where in found), key=lambda one: ":" in one)
