"""Which children there are, in which order they start, and which are linked.

Each child starts when the one before it is ready. They stop in reverse order: the consumer, which gives plays
to the others, starts last and stops first.

    root
    ├── nsqd            only when the settings name no nsqd and no nsqlookupd
    ├── client          only when it is enabled
    ├── dispatcher
    ├── counters        their own supervisor, with its own restart rules: they are many and alike
    │   └── counter-0 … counter-N-1
    └── consumer
"""

from msgspec.structs import replace

from .config import DEFAULT_URL, Settings
from .core.shards import counter_of
from .supervision.restarts import AutoShutdown, ChildSpec, Restart, Strategy, SupervisorSpec

CONSUMER = "consumer"
DISPATCHER = "dispatcher"
CLIENT = "client"
NSQD = "nsqd"
COUNTERS = "counters"


def root_spec(settings: Settings) -> ChildSpec:
    """The spec of the root supervisor and everything below."""
    rules = settings.supervisor
    shutdown_ms = int(rules.shutdown_timeout_s * 1000)
    counters = [counter_of(shard) for shard in range(settings.counters.shards)]
    children = []
    if settings.embedded:
        children.append(ChildSpec(NSQD, "actors.embedded_nsqd.actor:Nsqd", shutdown_ms=shutdown_ms))
    if settings.client.enabled:
        children.append(ChildSpec(CLIENT, "actors.client.actor:Client", shutdown_ms=shutdown_ms))
    children += [
        ChildSpec(
            DISPATCHER,
            "actors.dispatcher:Dispatcher",
            shutdown_ms=shutdown_ms,
            peers=tuple(counters),
            drains=True,
        ),
        _counters_spec(settings, counters),
        ChildSpec(
            CONSUMER,
            "actors.consumer:Consumer",
            shutdown_ms=shutdown_ms,
            peers=tuple(counters),
            drains=True,
        ),
    ]
    supervisor = SupervisorSpec(
        tuple(children),
        Strategy(rules.strategy),
        rules.max_restarts,
        int(rules.max_seconds * 1000),
        int(rules.back_off_ms),
        AutoShutdown.ANY_SIGNIFICANT,
    )
    return ChildSpec("root", shutdown_ms=None, supervisor=supervisor)


def _counters_spec(settings: Settings, counters: list[str]) -> ChildSpec:
    """The spec of the counters' supervisor.

    It is significant: when it gives up, the service has no ledger to count in, and another restart would not
    help. So the root ends too.
    """
    rules = settings.counters_rules
    shutdown_ms = int(rules.shutdown_timeout_s * 1000)
    workers = tuple(
        ChildSpec(counter, "actors.counter:Counter", shutdown_ms=shutdown_ms, peers=(DISPATCHER, CONSUMER))
        for counter in counters
    )
    supervisor = SupervisorSpec(
        workers,
        Strategy(rules.strategy),
        rules.max_restarts,
        int(rules.max_seconds * 1000),
        int(rules.back_off_ms),
    )
    return ChildSpec(
        COUNTERS,
        restart=Restart.TRANSIENT,
        significant=True,
        shutdown_ms=None,
        supervisor=supervisor,
    )


def groups_to_poll(settings: Settings) -> list[list[str]]:
    """The ids of the children with stats. A child that gives plays comes before the child that gets them."""
    return [[CONSUMER], [counter_of(shard) for shard in range(settings.counters.shards)], [DISPATCHER]]


def with_addresses(settings: Settings, addresses: dict[str, str]) -> Settings:
    """The settings with `addresses` in place of those that ask for any free port.

    The publish URL gets the address of the enabled reference client if it is the default or has port 0.
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
