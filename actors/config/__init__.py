"""Every setting: its type, default, unit and bounds; and `load`, which reports all problems at once.

Owns what `config.toml` may say. Sources, each over the one before: the defaults below, the file,
`--set SECTION.KEY=VALUE`. Refuses what it does not know rather than guess. Knows nothing of what
the settings are used for.
"""

import functools
import os
import re
import tomllib
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from ..system.installation import INSTALLED, ROOT, service_command

DEFAULT_URL = "http://127.0.0.1:8080/plays"
NAME = "config.toml"
PROJECT_FILE = ROOT / NAME
EXAMPLE = ROOT / "actors" / NAME  # in a checkout a link to PROJECT_FILE
LOOKED_FOR = f"config.toml here, else {'every default' if INSTALLED else 'that of the checkout'}"
TOPIC_NAME = r"^[.a-zA-Z0-9_-]{1,59}\Z"
CHANNEL_NAME = r"^[.a-zA-Z0-9_-]{1,64}(#ephemeral)?\Z"
_PORT = r"([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
PROXY = r"^(environment|http://[^\s/]+/?)?\Z"
# A host by its name has labels of 1 to 63: with others a socket raises what is no OSError.
_HOST = r"(\[[0-9a-fA-F:]+\]|([a-zA-Z0-9_-]{1,63}\.)*[a-zA-Z0-9_-]{1,63}\.?)"
ADDRESS = rf"^{_HOST}:{_PORT}\Z"
DESCRIPTOR = r"/dev/stdin|/dev/fd/[0-9]+|/proc/.+/fd/[0-9]+"
PATHS = (("supervisor", "state_dir"), ("publish", "ca_file"), ("client", "record"))
SHOWN_CHARACTERS_MAX = 300  # of a value, in what is said about it


class ConfigError(ValueError):
    """What is wrong with the settings: one line a problem, all of them."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        super().__init__("\n".join(problems))


def _note(expected: str, unit: str = "", **bounds: Any) -> Meta:
    return Meta(extra={"expected": expected, "unit": unit}, **bounds)


def _whole(low: int, high: int, unit: str) -> Meta:
    return _note(f"a whole number, {low} to {high}", unit, ge=low, le=high)


def _number(low: float, high: float, unit: str) -> Meta:
    return _note(f"a number, {low:g} to {high:g}", unit, ge=low, le=high)


def _or_inherit(expected: str, unit: str) -> Meta:
    return _note(f'{expected}, or "inherit"', unit)


def _text(expected: str, pattern: str) -> Meta:
    return _note(expected, pattern=pattern)


def _choice(*words: str) -> Meta:
    return _note(" or ".join(f'"{word}"' for word in words))


Address: TypeAlias = Annotated[
    str, _text('"host:port" with a port of 0 to 65535, 0 for any free one', ADDRESS)
]
NsqdAddress: TypeAlias = Annotated[str, _text('"host:port"', ADDRESS)]
HttpAddress: TypeAlias = Annotated[
    str, _text('"host:port" or "http://host:port"', r"^(https?://)?[^\s/]+:[0-9]{1,5}/?\Z")
]
Switch: TypeAlias = Annotated[bool, _note("true or false")]
Inherit: TypeAlias = Literal["inherit"]


class Nsq(Struct, frozen=True, kw_only=True):
    """Where the plays are: the topic, the channel, and the nsqds or nsqlookupds that have them."""

    topic: Annotated[
        str, _text('1 to 59 of a-z A-Z 0-9 . _ - (NSQ allows 64; ".dead" is added)', TOPIC_NAME)
    ] = "plays"
    channel: Annotated[str, _text("1 to 64 of a-z A-Z 0-9 . _ -", CHANNEL_NAME)] = "playtally"
    nsqd_tcp_addresses: list[NsqdAddress] = []
    lookupd_http_addresses: list[HttpAddress] = []
    max_in_flight: Annotated[int, _whole(1, 1_000_000, "messages")] = 2500
    msg_timeout_s: Annotated[float, _number(1, 900, "s")] = 5.0


class EmbeddedNsqd(Struct, frozen=True, kw_only=True):
    """The queue in Python that stands in for nsqd on a machine without one."""

    tcp_address: Address = "127.0.0.1:4150"
    http_address: Address = "127.0.0.1:4151"


class Counters(Struct, frozen=True, kw_only=True):
    """The counter processes and their ledgers."""

    shards: Annotated[int, _whole(1, 64, "processes")] = 2
    synchronous: Annotated[Literal["NORMAL", "FULL"], _choice("NORMAL", "FULL")] = "NORMAL"
    dedupe_window_s: Annotated[float, _number(1, 604_800, "s")] = 3600.0


class Dispatch(Struct, frozen=True, kw_only=True):
    """When totals are published, and how many at once."""

    realtime_below: Annotated[int, _whole(0, 1_000_000, "plays")] = 100
    deadline_s: Annotated[float, _number(0.1, 86_400, "s")] = 60.0
    batch_size_max: Annotated[int, _whole(1, 20, "videos")] = 20
    realtime: Annotated[Literal["coalesce", "every_play"], _choice("coalesce", "every_play")] = "coalesce"
    realtime_linger_ms: Annotated[float, _number(0, 60_000, "ms")] = 0.0
    overdue_linger_ms: Annotated[float, _number(0, 60_000, "ms")] = 1000.0


class Publish(Struct, frozen=True, kw_only=True):
    """Where publishes go, and what the client asks of them."""

    url: Annotated[str, _text('"" or "http://…" or "https://…"', r"^(https?://[^\s/]+\S*)?\Z")] = DEFAULT_URL
    nsq_topic: Annotated[str, _text('"" or 1 to 64 of a-z A-Z 0-9 . _ -', r"^([.a-zA-Z0-9_-]{1,64})?\Z")] = ""
    stdout: Switch = True
    timeout_s: Annotated[float, _number(0.05, 600, "s")] = 10.0
    secret_env: Annotated[
        str, _text('"" or the name of an environment variable', r"^([A-Za-z_][A-Za-z0-9_]*)?\Z")
    ] = ""
    rate_max_per_s: Annotated[float, _number(0, 1000, "publishes/s")] = 0.0
    gzip: Switch = True
    ca_file: Annotated[str, _text('"" or the path of a file', r"^[^\0\n]*\Z")] = ""
    proxy: Annotated[str, _text('"environment", "" or "http://host:port"', PROXY)] = "environment"


class Client(Struct, frozen=True, kw_only=True):
    """The reference client, which takes publishes over HTTP and shows them as a page."""

    enabled: Switch = True
    address: Address = "127.0.0.1:8080"
    record: Annotated[str, _text('"" or the path of a file', r"^[^\0\n]*\Z")] = ""


class Admin(Struct, frozen=True, kw_only=True):
    """The service's own HTTP: status, metrics, health."""

    address: Address = "127.0.0.1:8081"


class Supervisor(Struct, frozen=True, kw_only=True):
    """How children are restarted, and where everything durable is kept."""

    state_dir: Annotated[str, _text("the path of a folder", r"^[^\0\n]+\Z")] = "state"
    strategy: Annotated[
        Literal["one_for_one", "rest_for_one", "one_for_all"],
        _choice("one_for_one", "rest_for_one", "one_for_all"),
    ] = "one_for_one"
    max_restarts: Annotated[int, _whole(0, 10_000, "restarts")] = 5
    max_seconds: Annotated[float, _number(0.1, 86_400, "s")] = 10.0
    back_off_ms: Annotated[float, _number(0, 60_000, "ms")] = 0.0
    liveness_timeout_s: Annotated[float, _number(0.5, 3600, "s")] = 10.0
    shutdown_timeout_s: Annotated[float, _number(0.1, 3600, "s")] = 10.0


class CountersSupervisor(Struct, frozen=True, kw_only=True):
    """The same for the counters, which have a supervisor of their own. "inherit": as [supervisor]."""

    strategy: Annotated[
        Literal["one_for_one", "rest_for_one", "one_for_all", "inherit"],
        _choice("one_for_one", "rest_for_one", "one_for_all", "inherit"),
    ] = "one_for_one"
    max_restarts: Annotated[
        Annotated[int, Meta(ge=0, le=10_000)] | Inherit, _or_inherit("a whole number, 0 to 10000", "restarts")
    ] = "inherit"
    max_seconds: Annotated[
        Annotated[float, Meta(ge=0.1, le=86_400)] | Inherit, _or_inherit("a number, 0.1 to 86400", "s")
    ] = "inherit"
    back_off_ms: Annotated[
        Annotated[float, Meta(ge=0, le=60_000)] | Inherit, _or_inherit("a number, 0 to 60000", "ms")
    ] = "inherit"
    shutdown_timeout_s: Annotated[
        Annotated[float, Meta(ge=0.1, le=3600)] | Inherit, _or_inherit("a number, 0.1 to 3600", "s")
    ] = "inherit"


class Settings(Struct, frozen=True, kw_only=True):
    """All settings in force, by section."""

    nsq: Nsq = Nsq()
    embedded_nsqd: EmbeddedNsqd = EmbeddedNsqd()
    counters: Counters = Counters()
    dispatch: Dispatch = Dispatch()
    publish: Publish = Publish()
    client: Client = Client()
    admin: Admin = Admin()
    supervisor: Supervisor = Supervisor()
    counters_supervisor: CountersSupervisor = CountersSupervisor()

    @property
    def embedded(self) -> bool:
        """Whether the embedded nsqd is used: when no nsqd and no nsqlookupd is named."""
        return not (self.nsq.nsqd_tcp_addresses or self.nsq.lookupd_http_addresses)

    @property
    def nsqd_addresses(self) -> list[str]:
        """The "host:port" of every nsqd that plays come from; none when nsqlookupds name them."""
        return [self.embedded_nsqd.tcp_address] if self.embedded else list(self.nsq.nsqd_tcp_addresses)

    @property
    def counters_rules(self) -> Supervisor:
        """How the counters are restarted: `counters_supervisor`, with what it inherits."""
        own = msgspec.structs.asdict(self.counters_supervisor)
        return msgspec.structs.replace(
            self.supervisor, **{key: value for key, value in own.items() if value != "inherit"}
        )


class Setting(NamedTuple):
    """One setting for people: its full key, value, unit, what is expected, where it came from."""

    key: str
    value: Any
    unit: str
    expected: str
    source: str
    is_default: bool


def load(path: str | Path | None = None, overrides: Iterable[str] = ()) -> Settings:
    """The settings in force. Raises `ConfigError` with every problem.

    `path`: the file; None for the one that `find` finds.
    `overrides`: "SECTION.KEY=VALUE" texts; VALUE as in TOML, quotes not needed.
    """
    return _read(path, overrides)[0]


def explain(path: str | Path | None = None, overrides: Iterable[str] = ()) -> list[Setting]:
    """Every setting in force with its unit, and whether default, file or --set gave its value."""
    settings, sources = _read(path, overrides)
    default = Settings()
    found = []
    for (section, key), annotation in _known().items():
        part = settings.counters_rules if section == "counters_supervisor" else getattr(settings, section)
        value = getattr(part, key)
        is_default = value == getattr(getattr(default, section), key)
        source = sources.get((section, key), "default")
        found.append(Setting(f"{section}.{key}", value, *_meaning(annotation), source, is_default))
    return found


def example() -> str:
    """A config file with every setting, its default and what it means: the reference, to begin one with."""
    return EXAMPLE.read_text(encoding="utf-8").replace("python supervisor.py", service_command())


def _read(path: str | Path | None, overrides: Iterable[str]) -> tuple[Settings, dict[tuple[str, str], str]]:
    problems: list[str] = []
    file = find(path)
    values: dict[tuple[str, str], Any] = {}
    sources: dict[tuple[str, str], str] = {}
    if file is not None:
        for setting, value in _from_file(file, problems).items():
            values[setting], sources[setting] = value, _short(file)
    for setting, value in _from_overrides(overrides, problems).items():
        values[setting], sources[setting] = value, "--set"
    checked: dict[str, dict[str, Any]] = {}
    for (section, key), value in values.items():
        annotation = _known()[section, key]
        try:
            checked.setdefault(section, {})[key] = msgspec.convert(value, annotation)
        except msgspec.ValidationError:
            expected = _meaning(annotation)[1]
            where = sources[section, key]
            problems.append(f"{where}: {section}.{key} = {_shown(value)}, expected {expected}")
    sections = get_type_hints(Settings)
    settings = Settings(**{name: sections[name](**keys) for name, keys in checked.items()})
    if not problems:
        problems.extend(_contradictions(settings))
    if problems:
        raise ConfigError(problems)
    for setting in PATHS:
        settings = _absolute(settings, setting, None if sources.get(setting) == "--set" else file)
    return settings, sources


def _absolute(settings: Settings, setting: tuple[str, str], file: Path | None) -> Settings:
    """The settings with that path made absolute. Raises `ConfigError` where the working directory is needed
    and gone.

    `file`: where it was set. One beside a file is meant from the folder that the file was named in, any
    other from the working directory.
    """
    section, key = setting
    part = getattr(settings, section)
    path = Path(getattr(part, key))
    if not getattr(part, key):
        return settings
    if not path.is_absolute():
        path = (_working_directory() if file is None or _is_stream(file) else file.parent) / path
    part = msgspec.structs.replace(part, **{key: os.path.realpath(path)})
    return msgspec.structs.replace(settings, **{section: part})


def _shown(value: object) -> str:
    """A value in what is said about it; the beginning of one that goes on for ever."""
    try:
        text = repr(value)
    except (ValueError, RecursionError) as error:
        return f"({error})"
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}…"


def find(path: str | Path | None = None) -> Path | None:
    """The config file that is meant, as it was named; None where every default holds.

    `path`: what the user named. If nothing: config.toml in the working directory, else in a checkout the one
    beside supervisor.py. What pip installed has none, and nothing is ever written beside it.
    """
    if path is None and not os.path.isfile(NAME):
        return None if INSTALLED else PROJECT_FILE
    file = Path(NAME if path is None else path)
    if "\0" in str(file):
        raise ConfigError([f"--config {path!r}: expected the path of a file, which has no NUL in it"])
    return file if file.is_absolute() else _working_directory() / file


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise ConfigError(["the working directory is gone, expected one that is there"]) from error


def _is_stream(file: Path) -> bool:
    """Whether it is a pipe or the like, or the name of an open descriptor: nothing lies beside it."""
    return re.fullmatch(DESCRIPTOR, str(file)) is not None or not os.path.isfile(file)


def _short(file: Path) -> str:
    """What a file is called where its key is told too."""
    return str(file) if _is_stream(file) else file.name


@functools.cache
def _text_of_stream(file: Path) -> str:
    """Read it. A pipe can be read once only, and one command may ask for its settings twice."""
    return file.read_text(encoding="utf-8")


def _from_file(file: Path, problems: list[str]) -> dict[tuple[str, str], Any]:
    try:
        text = _text_of_stream(file) if _is_stream(file) else file.read_text(encoding="utf-8")
        tree = tomllib.loads(text)
    except OSError as error:
        problems.append(f"{file}: cannot be read ({error.strerror}), expected a config file")
        return {}
    except (ValueError, RecursionError) as error:
        problems.append(f"{file}: is not TOML that can be read: {error}")
        return {}
    found = {}
    for section, keys in tree.items():
        if section not in get_type_hints(Settings) or not isinstance(keys, dict):
            problems.append(f"{_short(file)}: unknown section [{section}], expected {_list_sections()}")
            continue
        for key, value in keys.items():
            if (section, key) in _known():
                found[section, key] = value
            else:
                problems.append(_unknown_key(_short(file), section, key))
    return found


def _from_overrides(overrides: Iterable[str], problems: list[str]) -> dict[tuple[str, str], Any]:
    found = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot:
            problems.append(f"--set {override!r}, expected SECTION.KEY=VALUE")
        elif section not in get_type_hints(Settings):
            problems.append(f"--set: unknown section {section!r}, expected {_list_sections()}")
        elif (section, key) not in _known():
            problems.append(_unknown_key("--set", section, key))
        else:
            found[section, key] = _typed(text.strip(), _known()[section, key])
    return found


def _typed(text: str, annotation: Any) -> Any:
    """The value that `text` means for a setting of that type: TOML, or a text without its quotes."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    kind = _bare(annotation)
    if kind is list and not isinstance(value, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    if (kind is str or get_origin(kind) is Literal) and not isinstance(value, str):
        return text
    return value


def _contradictions(settings: Settings) -> list[str]:
    """What is right alone and cannot go together."""
    problems = []
    dispatch, publish = settings.dispatch, settings.publish
    if not (publish.url or publish.nsq_topic or publish.stdout):
        problems.append(
            'publish.url = "", publish.nsq_topic = "" and publish.stdout = false, expected one of them: '
            "nothing would be published"
        )
    if publish.url and publish.nsq_topic:
        problems.append(
            f"publish.url = {without_password(publish.url)!r} and publish.nsq_topic = "
            f'{publish.nsq_topic!r}, expected one of them: set publish.url = "" to publish to the topic'
        )
    if publish.nsq_topic in (settings.nsq.topic, f"{settings.nsq.topic}.dead"):
        problems.append(
            f"publish.nsq_topic = {publish.nsq_topic!r}, expected another than nsq.topic and its dead "
            "letters: publishes would be taken for plays"
        )
    if publish.nsq_topic and publish.secret_env:
        problems.append(
            f'publish.secret_env = {publish.secret_env!r} with publish.nsq_topic, expected "": a message '
            "has no header for a signature"
        )
    try:
        urlsplit(publish.url).port  # noqa: B018 - raises on one that can't be
    except ValueError as error:
        problems.append(f"publish.url = {publish.url!r}, expected a port of 0 to 65535 ({error})")
    if dispatch.realtime_linger_ms > dispatch.deadline_s * 1000:
        problems.append(
            f"dispatch.realtime_linger_ms = {dispatch.realtime_linger_ms:g}, expected at most "
            f"dispatch.deadline_s = {dispatch.deadline_s:g} s"
        )
    taken: dict[str, str] = {}
    for name, address in _listeners(settings):
        if not address.endswith(":0") and address in taken:
            problems.append(f"{name} = {address!r}, expected another than {taken[address]}'s")
        taken[address] = name
    return problems


def without_password(url: str) -> str:
    """A URL for people's eyes: logs and screens must not tell the password in it."""
    head, at, tail = url.rpartition("@")
    return f"{head.partition('//')[0]}//…@{tail}" if at else url


def _listeners(settings: Settings) -> list[tuple[str, str]]:
    listeners = [("admin.address", settings.admin.address)]
    if settings.client.enabled:
        listeners.append(("client.address", settings.client.address))
    if settings.embedded:
        listeners.append(("embedded_nsqd.tcp_address", settings.embedded_nsqd.tcp_address))
        listeners.append(("embedded_nsqd.http_address", settings.embedded_nsqd.http_address))
    return listeners


@functools.cache
def _known() -> dict[tuple[str, str], Any]:
    """Every key that there is, with its annotated type."""
    return {
        (section, field.name): field.type
        for section, kind in get_type_hints(Settings).items()
        for field in msgspec.structs.fields(kind)
    }


def _meaning(annotation: Any) -> tuple[str, str]:
    """The unit of a setting, and in words what it takes."""
    if get_origin(annotation) is list:
        return "", f"a list, each {_meaning(get_args(annotation)[0])[1]}"
    for note in get_args(annotation)[1:]:
        if isinstance(note, Meta) and note.extra:
            return note.extra["unit"], note.extra["expected"]
    raise AssertionError(f"a setting without its meaning: {annotation}")


def _bare(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return list if isinstance(annotation, types.GenericAlias) else annotation


def _list_sections() -> str:
    return "one of " + ", ".join(get_type_hints(Settings))


def _unknown_key(where: str, section: str, key: str) -> str:
    keys = ", ".join(name for kind, name in _known() if kind == section)
    return f"{where}: unknown key {section}.{key}, expected one of {keys}"
