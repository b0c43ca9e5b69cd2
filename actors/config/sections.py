"""The sections of `config.toml`: every setting with its type, default, unit and bounds."""

from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

DEFAULT_URL = "http://127.0.0.1:8080/plays"
TOPIC_NAME = r"^[.a-zA-Z0-9_-]{1,59}\Z"
PLAY_ID_NAME = r"^([a-zA-Z0-9_@$:-]{1,64})?\Z"
CHANNEL_NAME = r"^[.a-zA-Z0-9_-]{1,64}(#ephemeral)?\Z"
_PORT = r"([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
PROXY = r"^(environment|http://[^\s/]+/?)?\Z"
# Labels of a host name have 1 to 63 characters. With a label of any other length, a socket raises
# UnicodeError instead of OSError.
_HOST = r"(\[[0-9a-fA-F:.]+\]|([a-zA-Z0-9_-]{1,63}\.)*[a-zA-Z0-9_-]{1,63}\.?)"
TLS_NAME = r"[0-9a-fA-F:]*:[0-9a-fA-F:.]+|([a-zA-Z0-9_-]{1,63}\.)*[a-zA-Z0-9_-]{1,63}"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
ADDRESS = rf"^{_HOST}:{_PORT}\Z"


def _note(expected: str, unit: str = "", **bounds: Any) -> Meta:
    return Meta(extra={"expected": expected, "unit": unit}, **bounds)


def _whole(low: int, high: int, unit: str) -> Meta:
    return _note(f"a whole number, {low} to {high}", unit, ge=low, le=high)


def _number(low: float, high: float, unit: str) -> Meta:
    return _note(f"a number, {low:g} to {high:g}", unit, ge=low, le=high)


def _text(expected: str, pattern: str) -> Meta:
    return _note(expected, pattern=pattern)


Address: TypeAlias = Annotated[
    str, _text('"host:port" with a port of 0 to 65535, 0 for any free one', ADDRESS)
]
NsqdAddress: TypeAlias = Annotated[
    str, _text('"host:port" with a port of 1 to 65535', rf"^{_HOST}:(?!0+\Z){_PORT}\Z")
]
_PATH = r"(/[^\s?#]*)?(\?[^\s#]*)?"
LookupdAddress: TypeAlias = Annotated[
    str,
    _text(
        '"host:port" or a URL such as "https://host:port/path?query"',
        rf"^({_HOST}:{_PORT}|https?://([^\s/?#@]+@)?{_HOST}(:{_PORT})?){_PATH}\Z",
    ),
]
NsqdHttpAddress: TypeAlias = Annotated[
    str,
    _text('"host:port", "http://host:port" or "https://host:port"', rf"^(https?://)?{_HOST}:{_PORT}/?\Z"),
]
AllowedHost: TypeAlias = Annotated[
    str, _text("a host name or an IP address, without a port", rf"^({_HOST}|{TLS_NAME})\Z")
]
BROADCAST_ADDRESS = rf"^({_HOST}|[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:.]*)?\Z"
BroadcastAddress: TypeAlias = Annotated[
    str, _text('"" or a host name or an IP address, without a port', BROADCAST_ADDRESS)
]
Switch: TypeAlias = Annotated[bool, _note("true or false")]
FilePath: TypeAlias = Annotated[str, _text('"" or the path of a file', r"^[^\0\n]*\Z")]
Variable: TypeAlias = Annotated[
    str, _text('"" or the name of an environment variable', rf"^({_VARIABLE})?\Z")
]
Inherit: TypeAlias = Literal["inherit"]


BATCH_SIZE_MAX = 20  # videos in one publish, as promised to the client


class NsqSection(Struct, frozen=True, kw_only=True):
    """Where the plays come from: topic, channel, and the nsqds or the nsqlookupds that know the nsqds."""

    topic: Annotated[
        str, _text('1 to 59 of a-z A-Z 0-9 . _ - (NSQ allows 64; ".dead" is added)', TOPIC_NAME)
    ] = "plays"
    channel: Annotated[str, _text("1 to 64 of a-z A-Z 0-9 . _ -", CHANNEL_NAME)] = "playtally"
    nsqd_tcp_addresses: list[NsqdAddress] = []
    nsqd_http_addresses: list[NsqdHttpAddress] = []
    lookupd_http_addresses: list[LookupdAddress] = []
    consumers: Annotated[int, _whole(1, 16, "processes")] = 1
    max_in_flight: Annotated[int, _whole(1, 1_000_000, "messages")] = 2500
    msg_timeout_s: Annotated[float, _number(1, 900, "s")] = 5.0
    tls: Switch = False
    tls_ca_file: FilePath = ""
    tls_cert_file: FilePath = ""
    tls_key_file: FilePath = ""
    tls_server_name: Annotated[str, _text('"" or a host name or an IP address', rf"^({TLS_NAME})?\Z")] = ""
    tls_verify: Switch = True
    auth_secret_env: Variable = ""
    auth_secret_file: FilePath = ""
    compression: Literal["", "snappy", "deflate"] = ""
    play_id: Annotated[
        str,
        _text('"" or the name of a key of the body itself, 1 to 64 of a-z A-Z 0-9 _ - @ $ :', PLAY_ID_NAME),
    ] = ""

    @property
    def uses_tls(self) -> bool:
        """Whether anything of NSQ is spoken to over TLS: every nsqd, or HTTP where an address says https."""
        addresses = [*self.nsqd_http_addresses, *self.lookupd_http_addresses]
        return self.tls or any(address.startswith("https://") for address in addresses)


class EmbeddedNsqdSection(Struct, frozen=True, kw_only=True):
    """The queue in Python that stands in for nsqd on a machine without one."""

    tcp_address: Address = "127.0.0.1:4150"
    http_address: Address = "127.0.0.1:4151"
    allowed_hosts: list[AllowedHost] = []
    broadcast_address: BroadcastAddress = ""


class CountersSection(Struct, frozen=True, kw_only=True):
    """The counter processes and their ledgers."""

    shards: Annotated[int, _whole(1, 64, "processes")] = 2
    synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
    dedupe_window_s: Annotated[float, _number(1, 604_800, "s")] = 3600.0


class DispatchSection(Struct, frozen=True, kw_only=True):
    """When totals are published, and how many in one publish."""

    realtime_below: Annotated[int, _whole(0, 1_000_000, "plays")] = 100
    deadline_s: Annotated[float, _number(0.1, 86_400, "s")] = 60.0
    batch_size_max: Annotated[int, _whole(1, BATCH_SIZE_MAX, "videos")] = BATCH_SIZE_MAX
    realtime: Literal["coalesce", "every_play"] = "coalesce"
    realtime_linger_ms: Annotated[float, _number(0, 60_000, "ms")] = 0.0
    overdue_linger_ms: Annotated[float, _number(0, 60_000, "ms")] = 1000.0


class SinkKind(StrEnum):
    """What confirms a publish. Each value is the key in [publish] that chooses it."""

    URL = "url"
    NSQ_TOPIC = "nsq_topic"
    STDOUT = "stdout"


class PublishSection(Struct, frozen=True, kw_only=True):
    """Where publishes go, and what the client requires of them."""

    url: Annotated[str, _text('"" or "http://…" or "https://…"', r"^(https?://[^\s/]+\S*)?\Z")] = DEFAULT_URL
    nsq_topic: Annotated[str, _text('"" or 1 to 64 of a-z A-Z 0-9 . _ -', r"^([.a-zA-Z0-9_-]{1,64})?\Z")] = ""
    stdout: Switch = True
    timeout_s: Annotated[float, _number(0.05, 600, "s")] = 10.0
    token_env: Variable = ""
    token_file: FilePath = ""
    cert_file: FilePath = ""
    key_file: FilePath = ""
    secret_env: Annotated[
        str,
        _text(
            '"" or the names of one or two environment variables, separated by a comma',
            rf"^({_VARIABLE}( *, *{_VARIABLE})?)?\Z",
        ),
    ] = ""
    secret_file: Annotated[
        str,
        _text('"" or the paths of one or two files, separated by a comma', r"^([^\0\n,]+(,[^\0\n,]+)?)?\Z"),
    ] = ""
    signature: Literal["body", "timestamp", "standard"] = "body"
    rate_max_per_s: Annotated[float, _number(0, 1000, "publishes/s")] = 0.0
    retry_after_max_s: Annotated[float, _number(0, 86_400, "s")] = 60.0
    in_flight_max: Annotated[int, _number(1, 256, "publishes")] = 8
    realtime_wait_max_ms: Annotated[float, _number(0, 60_000, "ms")] = 100.0
    gzip: Switch = True
    ca_file: FilePath = ""
    totals_url: Annotated[str, _text('"" or "http://…" or "https://…"', r"^(https?://[^\s/]+\S*)?\Z")] = ""
    proxy: Annotated[str, _text('"environment", "" or "http://host:port"', PROXY)] = "environment"

    @property
    def sink_kind(self) -> SinkKind:
        """What confirms a publish: the topic if it is set, else the URL if it is set, else stdout."""
        if self.nsq_topic:
            return SinkKind.NSQ_TOPIC
        return SinkKind.URL if self.url else SinkKind.STDOUT


class ClientSection(Struct, frozen=True, kw_only=True):
    """The reference client: it takes publishes over HTTP and shows them on a page."""

    enabled: Switch = True
    address: Address = "127.0.0.1:8080"
    token_env: Variable = ""
    token_file: FilePath = ""
    allowed_hosts: list[AllowedHost] = []
    record: FilePath = ""


class AdminSection(Struct, frozen=True, kw_only=True):
    """The service's own HTTP server, for status, metrics and health."""

    address: Address = "127.0.0.1:8081"
    token_env: Variable = ""
    token_file: FilePath = ""
    actions: Switch = False
    allowed_hosts: list[AllowedHost] = []


class LogSection(Struct, frozen=True, kw_only=True):
    """The log on stderr."""

    format: Literal["text", "json"] = "text"


class SupervisorSection(Struct, frozen=True, kw_only=True):
    """How children are restarted, and where everything durable is kept."""

    state_dir: Annotated[str, _text("the path of a folder, in one line", r"^[^\0\n]+\Z")] = "state"
    strategy: Literal["one_for_one", "rest_for_one", "one_for_all"] = "one_for_one"
    max_restarts: Annotated[int, _whole(0, 10_000, "restarts")] = 5
    max_seconds: Annotated[float, _number(0.1, 86_400, "s")] = 10.0
    back_off_ms: Annotated[float, _number(0, 60_000, "ms")] = 0.0
    liveness_timeout_s: Annotated[float, _number(0.5, 3600, "s")] = 10.0
    shutdown_timeout_s: Annotated[float, _number(0.1, 3600, "s")] = 10.0


class CountersSupervisorSection(Struct, frozen=True, kw_only=True):
    """How counters are restarted by their own supervisor. "inherit" takes the value of [supervisor]."""

    strategy: Literal["one_for_one", "rest_for_one", "one_for_all", "inherit"] = "one_for_one"
    max_restarts: Annotated[int, _whole(0, 10_000, "restarts")] | Inherit = "inherit"
    max_seconds: Annotated[float, _number(0.1, 86_400, "s")] | Inherit = "inherit"
    back_off_ms: Annotated[float, _number(0, 60_000, "ms")] | Inherit = "inherit"
    shutdown_timeout_s: Annotated[float, _number(0.1, 3600, "s")] | Inherit = "inherit"


class Settings(Struct, frozen=True, kw_only=True):
    """All settings in force, by section."""

    nsq: NsqSection = NsqSection()
    embedded_nsqd: EmbeddedNsqdSection = EmbeddedNsqdSection()
    counters: CountersSection = CountersSection()
    dispatch: DispatchSection = DispatchSection()
    publish: PublishSection = PublishSection()
    client: ClientSection = ClientSection()
    admin: AdminSection = AdminSection()
    log: LogSection = LogSection()
    supervisor: SupervisorSection = SupervisorSection()
    counters_supervisor: CountersSupervisorSection = CountersSupervisorSection()

    @property
    def embedded(self) -> bool:
        """Whether the embedded nsqd is used: only if neither an nsqd nor an nsqlookupd is set."""
        return not (self.nsq.nsqd_tcp_addresses or self.nsq.lookupd_http_addresses)

    @property
    def nsqd_addresses(self) -> list[str]:
        """The "host:port" of every nsqd that the settings name; nsqlookupds may know more."""
        return [self.embedded_nsqd.tcp_address] if self.embedded else list(self.nsq.nsqd_tcp_addresses)

    @property
    def counters_rules(self) -> SupervisorSection:
        """How the counters are restarted: `counters_supervisor`, with inherited values filled in."""
        own = msgspec.structs.asdict(self.counters_supervisor)
        return msgspec.structs.replace(
            self.supervisor, **{key: value for key, value in own.items() if value != "inherit"}
        )
