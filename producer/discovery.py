"""Where the queue is: the addresses of the nsqds that plays are published to.

The settings decide: plays go to the nsqds that are set, else to the nsqds that the nsqlookupds know,
else to the embedded nsqd. If the embedded nsqd may take any free port, the running service's run file
has the port. One call asks once. If something is missing, the caller waits and calls again.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from tornado.httpclient import AsyncHTTPClient, HTTPError

from actors.config import Settings
from actors.sources.lookup import nodes_url, nsqds_in
from actors.system import runfile
from actors.system.addresses import split_address
from actors.system.exits import Failure
from actors.system.installation import service_command

LOOKUP_TIMEOUT_S = 2.0

Locate = Callable[[], Awaitable[list[str]]]


class NotThereYet(Exception):
    """The queue cannot be located yet. The message says what to wait for, and where."""


def locator(settings: Settings) -> Locate:
    """A function that returns the "host:port" of one or more nsqds, or raises `NotThereYet`."""
    if settings.nsq.nsqd_tcp_addresses:
        return partial(_fixed, settings.nsq.nsqd_tcp_addresses)
    if settings.nsq.lookupd_http_addresses:
        return partial(_known_to, settings.nsq.lookupd_http_addresses)
    if split_address(settings.embedded_nsqd.tcp_address)[1] == 0:
        return partial(_as_the_service_says, settings.supervisor.state_dir)
    return partial(_fixed, [settings.embedded_nsqd.tcp_address])


async def _fixed(addresses: list[str]) -> list[str]:
    return addresses


async def _as_the_service_says(state_dir: str) -> list[str]:
    facts = runfile.read(state_dir)
    if facts is None or not facts.get("nsqd_tcp_address"):
        raise NotThereYet(
            f"the service with its state in {state_dir}, because only it knows the port of its queue: "
            f"start it with `{service_command()}`"
        )
    return [facts["nsqd_tcp_address"]]


async def _known_to(lookupds: list[str]) -> list[str]:
    found: list[str] = []
    problems = []
    for lookupd in lookupds:
        try:
            answer = await AsyncHTTPClient().fetch(nodes_url(lookupd), request_timeout=LOOKUP_TIMEOUT_S)
            found += nsqds_in(answer.body, lookupd)
        except Failure as failure:
            problems.append(str(failure))
        except (OSError, HTTPError, ValueError) as error:
            problems.append(f"{lookupd}: {error}")
    if not found:
        because = f" ({'; '.join(problems)})" if problems else ""
        raise NotThereYet(f"an nsqd to appear at nsqlookupd {', '.join(lookupds)}{because}")
    return found
