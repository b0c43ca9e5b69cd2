"""What a reload finds: files that changed and are in force now, and settings that need a restart.

The children read the files themselves, when they change and when the supervisor tells them to. Here the
supervisor looks at the same files, so that it can say what came of it.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import fields

from ..config import (
    ConfigError,
    Settings,
    auth_secret_of,
    credentials_of,
    parts_of,
    shown_value,
    token_of,
)
from ..sources.security import contexts_of
from ..system.exits import Failure
from ..system.tls import tls_context

FROM_A_PIPE = (
    "the settings came from a pipe, which can be read once: those of the start stay in force, and a restart "
    "takes others"
)


class Reloaded(Struct, frozen=True):
    """What came of a reload, a line each: what is in force, needs a restart, can't be used, was not read."""

    in_force: list[str] = []
    need_restart: list[str] = []
    refused: list[str] = []
    not_read: list[str] = []


class _Group(NamedTuple):
    """Files that are read together: if one can't be used, none of them changes. `read`: raises `Failure`."""

    section: str
    keys: tuple[str, ...]
    read: Callable[[Settings], object]


_GROUPS = [
    _Group("nsq", ("tls_ca_file", "tls_cert_file", "tls_key_file"), lambda one: contexts_of(one.nsq)),
    _Group("nsq", ("auth_secret_file",), lambda one: auth_secret_of(one.nsq)),
    _Group(
        "publish",
        ("ca_file", "cert_file", "key_file"),
        lambda one: tls_context("publish.", one.publish.ca_file, one.publish.cert_file, one.publish.key_file),
    ),
    _Group("publish", ("secret_file", "token_file"), lambda one: credentials_of(one.publish)),
    _Group("client", ("token_file",), lambda one: token_of(one, "client")),
    _Group("admin", ("token_file",), lambda one: token_of(one, "admin")),
]


class Reloading:
    """Knows what the files held the last time. It blocks while it reads, a few small files."""

    def __init__(self, settings: Settings, reread: Callable[[], Settings] | None = None):
        """`settings`: in force. `reread`: loads them as at the start; None if that can't be done again."""
        self._settings = settings
        self._reread = reread
        self._held = self._hold()

    def named(self) -> list[str]:
        """Return the settings that name a file to read again."""
        return list(self._held)

    def look(self) -> Reloaded:
        """Read everything again, and say what came of it."""
        held, before = self._hold(), self._held
        in_force, refused = [], []
        for group in _GROUPS:
            changed = [name for name in _names(group) if name in held and held[name] != before[name]]
            try:
                if any(name in held for name in _names(group)):
                    _ = group.read(self._settings)
            except Failure as failure:
                refused.append(f"{failure}; what was read before stays in force")
                held |= {name: before[name] for name in _names(group) if name in held}
                continue
            in_force += [f"{name}: {self._value(name)} changed and was read again" for name in changed]
        self._held = held
        need_restart, wrong = self._changed_settings()
        return Reloaded(
            in_force, need_restart, refused + wrong, [FROM_A_PIPE] if self._reread is None else []
        )

    def _changed_settings(self) -> tuple[list[str], list[str]]:
        if self._reread is None:
            return [], []
        try:
            present = self._reread()
        except ConfigError as error:
            return [], [f"{problem}; the settings of the start stay in force" for problem in error.problems]
        return [
            f"{name} = {shown_value(new)!r} needs a restart; {shown_value(old)!r} is in force"
            for section in fields(Settings)
            for key in fields(getattr(present, section.name))
            if (name := f"{section.name}.{key.name}")
            and (new := getattr(getattr(present, section.name), key.name))
            != (old := getattr(getattr(self._settings, section.name), key.name))
        ], []

    def _hold(self) -> dict[str, list[bytes]]:
        """Return what each file of the settings holds: a hash; b"" for one that can't be read."""
        return {
            name: [_digest(path) for path in (parts_of(value) if name == "publish.secret_file" else [value])]
            for group in _GROUPS
            for name in _names(group)
            if (value := self._value(name))
        }

    def _value(self, name: str) -> str:
        section, _, key = name.partition(".")
        value: str = getattr(getattr(self._settings, section), key)
        return value


def _names(group: _Group) -> list[str]:
    return [f"{group.section}.{key}" for key in group.keys]


def _digest(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).digest()
    except OSError:
        return b""
