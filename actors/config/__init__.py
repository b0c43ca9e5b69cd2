"""Every setting: its type, default, unit and bounds; and `load`, which reports all problems at once.

`config.toml` is the reference of what may be set. Knows nothing of what the settings are used for.
"""

from typing import TYPE_CHECKING

from ..system.lazy_names import lazy_names

if TYPE_CHECKING:
    from .contradictions import listeners
    from .loading import ConfigError, Setting, example, explain, find, known, load
    from .named import missing
    from .places import LOOKED_FOR, PROJECT_FILE
    from .secrets import (
        Credentials,
        auth_secret_of,
        client_variables,
        credentials_of,
        has_token,
        listener_variables,
        parts_of,
        queue_variables,
        sent_token,
        shown_value,
        token_of,
        without_password,
        without_secrets,
    )
    from .sections import (
        BATCH_SIZE_MAX,
        DEFAULT_URL,
        ClientSection,
        CountersSection,
        DispatchSection,
        NsqSection,
        PublishSection,
        Settings,
        SinkKind,
    )
    from .text import is_stream
    from .while_running import SETTABLE, checked_value, with_values

__all__ = [
    "BATCH_SIZE_MAX",
    "DEFAULT_URL",
    "LOOKED_FOR",
    "PROJECT_FILE",
    "SETTABLE",
    "ClientSection",
    "ConfigError",
    "CountersSection",
    "Credentials",
    "DispatchSection",
    "NsqSection",
    "PublishSection",
    "Setting",
    "Settings",
    "SinkKind",
    "auth_secret_of",
    "checked_value",
    "client_variables",
    "credentials_of",
    "example",
    "explain",
    "find",
    "has_token",
    "is_stream",
    "known",
    "listener_variables",
    "listeners",
    "load",
    "missing",
    "parts_of",
    "queue_variables",
    "sent_token",
    "shown_value",
    "token_of",
    "with_values",
    "without_password",
    "without_secrets",
]

# Each module is imported when a name of it is asked for first: `--help` needs none of them.
_WHERE = {
    "contradictions": ("listeners",),
    "loading": ("ConfigError", "Setting", "example", "explain", "find", "known", "load"),
    "named": ("missing",),
    "places": ("LOOKED_FOR", "PROJECT_FILE"),
    "secrets": (
        "Credentials",
        "auth_secret_of",
        "client_variables",
        "credentials_of",
        "has_token",
        "listener_variables",
        "parts_of",
        "queue_variables",
        "sent_token",
        "shown_value",
        "token_of",
        "without_password",
        "without_secrets",
    ),
    "sections": (
        "BATCH_SIZE_MAX",
        "ClientSection",
        "CountersSection",
        "DEFAULT_URL",
        "DispatchSection",
        "NsqSection",
        "PublishSection",
        "Settings",
        "SinkKind",
    ),
    "text": ("is_stream",),
    "while_running": ("SETTABLE", "checked_value", "with_values"),
}

if not TYPE_CHECKING:  # else every name would be there for mypy
    __getattr__ = lazy_names(__name__, _WHERE)
