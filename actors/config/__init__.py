"""Every setting: its type, default, unit and bounds; and `load`, which reports all problems at once.

`config.toml` is the reference of what may be set. Knows nothing of what the settings are used for.
"""

from .contradictions import listeners
from .loading import LOOKED_FOR, PROJECT_FILE, ConfigError, Setting, example, explain, find, load
from .named import missing
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
