"""Which children there are, in which order they start, and who is linked to whom. No policy.

Each starts when the one before said it is ready, and they stop in reverse: what gives plays starts
last and stops first.
"""

from msgspec.structs import replace

from .config import DEFAULT_URL, Settings
from .core.restarts import ChildSpec
from .core.shards import counter_of

CONSUMER = "consumer"
DISPATCHER = "dispatcher"
CLIENT = "client"
NSQD = "nsqd"


def child_specs(settings: Settings) -> list[ChildSpec]:
    """The children, in the order in which they start."""
    counters = [counter_of(shard) for shard in range(settings.counters.shards)]
    specs = []
    if settings.embedded:
        specs.append(ChildSpec(NSQD, "actors.services:Nsqd"))
    if settings.client.enabled:
        specs.append(ChildSpec(CLIENT, "actors.services:Client"))
    specs.append(
        ChildSpec(DISPATCHER, "actors.dispatcher:Dispatcher", peers=tuple(counters), drains=True)
    )
    specs += [
        ChildSpec(counter, "actors.counter:Counter", peers=(DISPATCHER, CONSUMER))
        for counter in counters
    ]
    specs.append(
        ChildSpec(CONSUMER, "actors.consumer:Consumer", peers=tuple(counters), drains=True)
    )
    return specs


def with_addresses(settings: Settings, addresses: dict[str, str]) -> Settings:
    """The settings with the addresses that were really taken, where they ask for any free port.

    The publish URL follows the reference client where it means it: when it is the default, or has
    port 0.
    """
    for key, address in addresses.items():
        section, _, name = key.partition(".")
        part = replace(getattr(settings, section), **{name: address})
        settings = replace(settings, **{section: part})
    url = settings.publish.url
    if settings.client.enabled and (url == DEFAULT_URL or ":0/" in url):
        path = url.split("/", 3)[3]
        url = f"http://{settings.client.address}/{path}"
        settings = replace(settings, publish=replace(settings.publish, url=url))
    return settings
