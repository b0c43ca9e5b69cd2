"""The settings that can be changed while the service runs. The config file is not written."""

from collections.abc import Mapping

from msgspec.structs import replace

from .contradictions import contradictions
from .loading import ConfigError, value_of
from .sections import Settings

SETTABLE = (
    "publish.rate_max_per_s",
    "publish.in_flight_max",
    "dispatch.realtime_linger_ms",
    "dispatch.overdue_linger_ms",
)


def with_values(settings: Settings, values: Mapping[str, float]) -> Settings:
    """Return these settings with some values, by "section.key"."""
    for name, value in values.items():
        section, _, key = name.partition(".")
        part = replace(getattr(settings, section), **{key: value})
        settings = replace(settings, **{section: part})
    return settings


def checked_value(settings: Settings, name: str, text: str) -> float:
    """Return the value that `text` means for the setting `name` ("section.key").

    `settings`: those in force. Raises `ConfigError` with what the config file would be refused for, and for a
    setting that can't be changed while the service runs.
    """
    if name not in SETTABLE:
        raise ConfigError(
            [f"{name} can't be set while the service runs, expected one of {', '.join(SETTABLE)}"]
        )
    value: float = value_of(name, text)
    if problems := contradictions(with_values(settings, {name: value})):
        raise ConfigError(problems)
    return value
