"""Which children there are, in which order they start, and which are linked.

Children that don't need each other start side by side: nsqd and client; when both run, the dispatcher; then
counters and consumers. They stop in reverse order: consumers, which give plays to the others, are first.

    root
    ├── nsqd            only when the settings name no nsqd and no nsqlookupd
    ├── client          only when it is enabled
    ├── dispatcher      it compares all stores before any is written
    ├── counters        their own supervisor, with its own restart rules: they are many and alike
    │   └── counter-0 … counter-N-1
    └── consumer        several are consumer-0 … consumer-N-1
"""

from msgspec.structs import replace

from .config import (
    DEFAULT_URL,
    Settings,
    SinkKind,
    client_variables,
    listener_variables,
    queue_variables,
)
from .core.consumers import consumers_of
from .core.shards import counter_of
from .supervision.restarts import AutoShutdown, ChildSpec, Restart, Strategy, SupervisorSpec
from .system.addresses import leads_to

DISPATCHER = "dispatcher"
CLIENT = "client"
NSQD = "nsqd"
COUNTERS = "counters"
SAME_EVENT_MS = 2000  # what one cause ends or halts (a disk that stalls, a busy machine) is one restart


def root_spec(settings: Settings) -> ChildSpec:
    """The spec of the root supervisor and everything below."""
    rules = settings.supervisor
    shutdown_ms = int(rules.shutdown_timeout_s * 1000)
    counters = [counter_of(shard) for shard in range(settings.counters.shards)]
    receiver = _receiver(settings)
    consumers = consumers_of(settings.nsq.consumers)
    children = []
    if settings.embedded:
        children.append(_receiver_spec(NSQD, "actors.embedded_nsqd.actor:Nsqd", receiver, shutdown_ms))
    if settings.client.enabled:
        known = (*client_variables(settings.publish), *listener_variables(settings.client))
        children.append(_receiver_spec(CLIENT, "actors.client.actor:Client", receiver, shutdown_ms, known))
    children += [
        ChildSpec(
            DISPATCHER,
            "actors.dispatcher:Dispatcher",
            shutdown_ms=shutdown_ms,
            peers=(*([receiver] if receiver else []), *counters),
            drains=True,
            environment=_of_sink(settings),
        ),
        _counters_spec(settings, counters, consumers),
        *(
            ChildSpec(
                consumer,
                "actors.consumer:Consumer",
                shutdown_ms=shutdown_ms,
                peers=tuple(counters),
                drains=True,
                intake=True,
                environment=queue_variables(settings.nsq),
                after=(DISPATCHER,),  # it reads nothing before it is linked with all counters
            )
            for consumer in consumers
        ),
    ]
    supervisor = SupervisorSpec(
        tuple(children),
        Strategy(rules.strategy),
        rules.max_restarts,
        int(rules.max_seconds * 1000),
        int(rules.back_off_ms),
        AutoShutdown.ANY_SIGNIFICANT,
        same_event_ms=SAME_EVENT_MS,
    )
    return ChildSpec("root", shutdown_ms=None, supervisor=supervisor)


def _receiver(settings: Settings) -> str | None:
    """The child that receives the publishes, if any. The link tells the dispatcher that it has started."""
    kind = settings.publish.sink_kind
    if kind is SinkKind.NSQ_TOPIC:
        return NSQD if settings.embedded else None
    if kind is SinkKind.URL and settings.client.enabled:
        url = settings.publish.url
        return CLIENT if follows_client(url) or leads_to(url, settings.client.address) else None
    return None


def publishes_to_client(settings: Settings) -> bool:
    """Whether the reference client is the one that gets the publishes."""
    return _receiver(settings) == CLIENT


def _receiver_spec(
    child_id: str, start: str, receiver: str | None, shutdown_ms: int, environment: tuple[str, ...] = ()
) -> ChildSpec:
    peers = (DISPATCHER,) if child_id == receiver else ()
    return ChildSpec(child_id, start, shutdown_ms=shutdown_ms, peers=peers, environment=environment, after=())


def _of_sink(settings: Settings) -> tuple[str, ...]:
    """The variables with the secrets that publishing needs."""
    if settings.publish.sink_kind is SinkKind.NSQ_TOPIC:
        return queue_variables(settings.nsq)
    own = listener_variables(settings.client) if publishes_to_client(settings) else ()
    return (*client_variables(settings.publish), *own)


def secret_variables(settings: Settings) -> set[str]:
    """The variables with any secret: no process gets one that it does not need."""
    return {
        *client_variables(settings.publish),
        *listener_variables(settings.client),
        *listener_variables(settings.admin),
        *queue_variables(settings.nsq),
    }


def _counters_spec(settings: Settings, counters: list[str], consumers: list[str]) -> ChildSpec:
    """The spec of the counters' supervisor.

    It is significant: when it gives up, the service has no ledger to count in, and another restart would not
    help. So the root ends too.
    """
    rules = settings.counters_rules
    shutdown_ms = int(rules.shutdown_timeout_s * 1000)
    workers = tuple(
        ChildSpec(
            counter,
            "actors.counter:Counter",
            shutdown_ms=shutdown_ms,
            peers=(DISPATCHER, *consumers),
            after=(),
        )
        for counter in counters
    )
    supervisor = SupervisorSpec(
        workers,
        Strategy(rules.strategy),
        rules.max_restarts,
        int(rules.max_seconds * 1000),
        int(rules.back_off_ms),
        same_event_ms=SAME_EVENT_MS,
    )
    return ChildSpec(
        COUNTERS,
        restart=Restart.TRANSIENT,
        significant=True,
        shutdown_ms=None,
        supervisor=supervisor,
    )


def children_of(spec: ChildSpec) -> list[str]:
    """The ids of all processes below a supervisor's spec, in the order in which they start."""
    if spec.supervisor is None:
        return [spec.id]
    return [child_id for child in spec.supervisor.children for child_id in children_of(child)]


def groups_to_poll(settings: Settings) -> list[list[str]]:
    """The ids of the children with stats. A child that gives plays comes before the child that gets them."""
    counters = [counter_of(shard) for shard in range(settings.counters.shards)]
    return [consumers_of(settings.nsq.consumers), counters, [DISPATCHER]]


def follows_client(url: str) -> bool:
    """Whether this `publish.url` means the reference client, wherever the client listens."""
    return url == DEFAULT_URL or ":0/" in url


def with_addresses(settings: Settings, addresses: dict[str, str]) -> Settings:
    """The settings with `addresses` in place of those that ask for any free port.

    The publish URL gets the address of the enabled reference client if it is the default or has port 0.
    """
    for key, address in addresses.items():
        section, _, name = key.partition(".")
        part = replace(getattr(settings, section), **{name: address})
        settings = replace(settings, **{section: part})
    url = settings.publish.url
    if settings.client.enabled and follows_client(url):
        path = url.split("/", 3)[3]
        url = f"http://{settings.client.address}/{path}"
        settings = replace(settings, publish=replace(settings.publish, url=url))
    return settings
