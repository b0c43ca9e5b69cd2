"""The settings in force: read from the file and the command line, checked, and explained.

Sources, each over the one before: the defaults, the file, `--set SECTION.KEY=VALUE`. Refuses what it does
not know rather than guess, and reports all problems at once.
"""

import functools
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

from ..system.installation import INSTALLED, service_command
from ..system.regular import other_kind
from .contradictions import contradictions
from .places import EXAMPLE, NAME, PROJECT_FILE
from .secrets import parts_of, without_secrets
from .sections import Settings
from .text import is_stream, text_of, why_not_toml

_URL = re.compile("://|:.*@")  # one with a password may lack its scheme
PATHS = (
    ("supervisor", "state_dir"),
    ("nsq", "tls_ca_file"),
    ("nsq", "tls_cert_file"),
    ("nsq", "tls_key_file"),
    ("nsq", "auth_secret_file"),
    ("publish", "ca_file"),
    ("publish", "cert_file"),
    ("publish", "key_file"),
    ("publish", "secret_file"),
    ("publish", "token_file"),
    ("client", "token_file"),
    ("admin", "token_file"),
    ("client", "record"),
)
REREAD = {path for path in PATHS if path[1].endswith("_file")}
SEVERAL_PATHS = {("publish", "secret_file")}  # separated by a comma
SHOWN_CHARACTERS_MAX = 300  # of a value quoted in a problem


class ConfigError(ValueError):
    """The settings can't be used. `problems`: all of them, one line each."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        super().__init__("\n".join(problems))


class Setting(NamedTuple):
    """One setting as shown to people. `key`: "section.key"; `source`: a file, "--set" or "default"."""

    key: str
    value: Any
    unit: str
    expected: str
    source: str
    is_default: bool


def load(path: str | Path | None = None, overrides: Iterable[str] = ()) -> Settings:
    """Return the settings in force. Raises `ConfigError` with every problem.

    `path`: the file; None for the one that `find` returns.
    `overrides`: texts "SECTION.KEY=VALUE"; VALUE as in TOML, but a string needs no quotes.
    """
    return _read(path, overrides)[0]


def explain(path: str | Path | None = None, overrides: Iterable[str] = ()) -> list[Setting]:
    """Return every setting in force, with its source. Raises `ConfigError` with every problem."""
    settings, named, sources = _read(path, overrides)
    default = Settings()
    found = []
    for (section, key), annotation in _known().items():
        part = settings.counters_rules if section == "counters_supervisor" else getattr(settings, section)
        value = getattr(part, key)
        # As it was named: a default that is a path, or is inherited, is shown as what it means here.
        is_default = getattr(getattr(named, section), key) == getattr(getattr(default, section), key)
        source = sources.get((section, key), "default")
        found.append(Setting(f"{section}.{key}", value, *_meaning(annotation), source, is_default))
    return found


def value_of(name: str, text: str) -> Any:
    """Return the value of the setting `name` ("section.key") that `text` means, as `--set` takes it.

    Raises `ConfigError`. It must be a setting.
    """
    section, _, key = name.partition(".")
    annotation = _known()[section, key]
    value = _typed(text.strip(), annotation)
    try:
        return msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        expected = _meaning(annotation)[1]
        raise ConfigError([f"{name} = {_shown(value)}, expected {expected}"]) from None


def known() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Every "section.key": what it accepts, in words, and its values if they are few."""
    return {
        f"{section}.{key}": (_meaning(annotation)[1], _values(annotation))
        for (section, key), annotation in _known().items()
    }


def example() -> str:
    """Return the text of a config file that has every setting, its default and its meaning."""
    return EXAMPLE.read_text(encoding="utf-8").replace("python supervisor.py", service_command())


def find(path: str | Path | None = None) -> Path | None:
    """Return the config file to read, as it was named; None when every default holds.

    `path`: the file that the user named. Without one: config.toml in the working directory, else in a
    checkout the one beside supervisor.py. An installation by pip has none, and nothing is written beside it.
    Raises `ConfigError` for a name that no file can have, and for a file that nobody named and that another
    user can have written.
    """
    if path is None and not os.path.lexists(NAME):
        return None if INSTALLED else PROJECT_FILE
    file = Path(NAME if path is None else path)
    if "\0" in str(file):
        raise ConfigError([f"--config {path!r}: expected the path of a file, which has no NUL in it"])
    file = file if file.is_absolute() else _working_directory() / file
    if path is None and (why := _untrusted(file)):
        raise ConfigError([f"{file}: {why}"])
    return file


def _untrusted(file: Path) -> str:
    """Why a file that nobody named is not obeyed; "" if it is. That of the checkout is, as its code is."""
    try:
        if kind := other_kind(file.stat().st_mode):
            return f"is {kind}, expected a config file: remove it, or name another with --config"
        own = PROJECT_FILE.exists() and file.samefile(PROJECT_FILE)
        if own:
            return ""
        from ..system.ownership import why_untrusted

        return why_untrusted(file)
    except OSError as error:
        return (
            f"cannot be read ({error.strerror}), expected a config file, or none: mend or remove it, or name "
            "another with --config"
        )


def _read(
    path: str | Path | None, overrides: Iterable[str]
) -> tuple[Settings, Settings, dict[tuple[str, str], str]]:
    """The settings in force, the same as they were named, and the source of each that was."""
    problems: list[str] = []
    file = find(path)
    from_file = {} if file is None else _from_file(file, problems)
    from_overrides = _from_overrides(overrides, problems)
    values = from_file | from_overrides
    sources = dict.fromkeys(from_file, "" if file is None else _short(file))
    sources |= dict.fromkeys(from_overrides, "--set")
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
        problems.extend(contradictions(settings))
    if problems:
        raise ConfigError(problems)
    named = settings
    for setting in PATHS:
        settings = _absolute(settings, setting, None if sources.get(setting) == "--set" else file)
    return settings, named, sources


def _absolute(settings: Settings, setting: tuple[str, str], file: Path | None) -> Settings:
    """Make the path in `setting` absolute. Raises `ConfigError` if the working directory is needed and gone.

    `file`: the file whose folder, as it was named, a relative path starts from. With None, or a file that is
    a stream, it starts from the working directory.
    """
    section, key = setting
    part = getattr(settings, section)
    value = getattr(part, key)
    if not value:
        return settings
    found = []
    for name in parts_of(value) if setting in SEVERAL_PATHS else [value]:
        path = Path(name)
        if not path.is_absolute():
            path = (_working_directory() if file is None or is_stream(file) else file.parent) / path
        # Kubernetes replaces a secret by moving the link to it: it is followed at each reading.
        try:
            found.append(os.path.abspath(path) if setting in REREAD else os.path.realpath(path))
        except UnicodeEncodeError as error:
            expected = f"a path in this machine's encoding ({error.encoding})"
            raise ConfigError([f"{section}.{key} = {_shown(value)}, expected {expected}"]) from None
    part = msgspec.structs.replace(part, **{key: ",".join(found)})
    return msgspec.structs.replace(settings, **{section: part})


def _shown(value: object) -> str:
    """Quote a value in a problem, at most `SHOWN_CHARACTERS_MAX` of it; a URL without what may be secret."""
    try:
        text = repr(without_secrets(value) if isinstance(value, str) and _URL.search(value) else value)
    except (ValueError, RecursionError) as error:
        return f"({error})"
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}…"


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise ConfigError(["the working directory is gone, expected one that is there"]) from error


def _short(file: Path) -> str:
    """The name of a file in a problem that names the key too."""
    return str(file) if is_stream(file) else file.name


def _from_file(file: Path, problems: list[str]) -> dict[tuple[str, str], Any]:
    text = ""
    try:
        text = text_of(file)
        tree = tomllib.loads(text)
    except OSError as error:
        problems.append(f"{file}: cannot be read ({error.strerror}), expected a config file")
        return {}
    except (ValueError, RecursionError) as error:
        problems.append(f"{file}: is not TOML that can be read: {why_not_toml(error, text)}")
        return {}
    found = {}
    for section, keys in tree.items():
        if section not in get_type_hints(Settings) or not isinstance(keys, dict):
            problems.append(f"{_short(file)}: {_no_section(section, keys)}")
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
    """Return the value of `text` for a setting of that type: TOML, or a string without quotes."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    kind = get_origin(annotation)
    if kind is list and not isinstance(value, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    if (kind is Literal or get_args(annotation)[0] is str) and not isinstance(value, str):
        return text
    return value


@functools.cache
def _known() -> dict[tuple[str, str], Any]:
    """The annotated type of every (section, key)."""
    return {
        (section, field.name): field.type
        for section, kind in get_type_hints(Settings).items()
        for field in msgspec.structs.fields(kind)
    }


def _meaning(annotation: Any) -> tuple[str, str]:
    """The unit of a setting, and what it accepts, in words."""
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind is list:
        return "", f"a list, each {_meaning(parts[0])[1]}"
    if kind is Literal:
        return "", " or ".join(f'"{word}"' for word in parts)
    if kind is Union:
        unit, expected = _meaning(parts[0])
        return unit, f"{expected}, or {_meaning(parts[1])[1]}"
    return parts[1].extra["unit"], parts[1].extra["expected"]


def _values(annotation: Any) -> tuple[str, ...]:
    """The values of a setting, as `--set` takes them, if they are few; else none."""
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind is Literal:
        return tuple(map(str, parts))
    if kind is Union:
        return tuple(value for part in parts for value in _values(part))
    return ("true", "false") if parts and parts[0] is bool else ()


def _no_section(name: str, value: object) -> str:
    """What is wrong with a name at the top of the file that is no section of ours."""
    of_tables = isinstance(value, list) and any(isinstance(one, dict) for one in value)
    found = f"[[{name}]]" if of_tables else f"{name} = {_shown(value)}"
    if name in get_type_hints(Settings):
        return f"{found}, expected the section [{name}]"
    if isinstance(value, dict) or of_tables:
        return f"unknown section [{name}], expected {_list_sections()}"
    meant = [f"[{section}]" for section, key in _known() if key == name]
    if not meant:
        return f"unknown key {name} before the first section, expected a section: {_list_sections()}"
    return f"{found} before the first section, expected it under {' or '.join(meant)}"


def _list_sections() -> str:
    return "one of " + ", ".join(get_type_hints(Settings))


def _unknown_key(where: str, section: str, key: str) -> str:
    keys = ", ".join(name for kind, name in _known() if kind == section)
    return f"{where}: unknown key {section}.{key}, expected one of {keys}"
