"""What is secret in the settings: kept out of logs and screens, read from the environment or from files."""

import base64
import binascii
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..system.exits import Failure
from ..system.regular import open_regular
from .sections import AdminSection, ClientSection, NsqSection, PublishSection, Settings

if TYPE_CHECKING:
    from ..system.watched_files import WatchedFiles

# The user of a URL: up to the last @ before its path, or, as a password may have a "/", before its query.
_USER = re.compile(r"^([^/?@]*//)?(?:[^/]*|[^?]*)@")
Value = TypeVar("Value")
BASE64_SECRET = "whsec_"  # how a secret of Standard Webhooks begins that is base64 after it
SECRET_BYTES_MAX = 1 << 16  # of a file with one
# Of a token that opens a listener. A shorter one can be guessed, and a longer one fits into no header.
TOKEN_CHARACTERS_MIN, TOKEN_CHARACTERS_MAX = 16, 4096


class Credentials(NamedTuple):
    """What publishes are signed with, one or two secrets or none; and the bearer token, or ""."""

    secrets: tuple[bytes, ...] = ()
    token: str = ""


def without_password(url: str) -> str:
    """A URL without its user and password. Its query is still there."""
    return _USER.sub(r"\1…@", url)


def without_secrets(url: str) -> str:
    """A URL for people's eyes: logs and screens show neither the user nor the query, which may be secrets."""
    address, query, _ = without_password(url).partition("?")
    return f"{address}?…" if query else address


def shown_value(value: Any) -> Any:
    """The value of a setting for people's eyes. It may be a URL, or a list of URLs."""
    if isinstance(value, list):
        return [shown_value(one) for one in value]
    return without_secrets(value) if isinstance(value, str) else value


def parts_of(text: str) -> list[str]:
    """The names or paths in a setting that takes several, separated by a comma."""
    return [part.strip() for part in text.split(",") if part.strip()]


def client_variables(publish: PublishSection) -> tuple[str, ...]:
    """The environment variables with the secrets that the client knows too."""
    return (*parts_of(publish.secret_env), *parts_of(publish.token_env))


def queue_variables(nsq: NsqSection) -> tuple[str, ...]:
    """The environment variables with the secrets that nsqds know too."""
    return (nsq.auth_secret_env,) if nsq.auth_secret_env else ()


def credentials_of(publish: PublishSection, own: ClientSection | None = None) -> "WatchedFiles[Credentials]":
    """Who calls the client. What is in files is read again when they change.

    `own`: the section of the reference client, if it is the one that is called; its token is sent then,
    unless another is set. Raises `Failure` if something is named and not there.
    """
    section: PublishSection | ClientSection = publish
    if own is not None and not (publish.token_env or publish.token_file):
        section = own
    name = "publish" if section is publish else "client"

    def read() -> Credentials:
        secrets = [
            *_from_environment("publish.secret_env", publish.secret_env, "the secret"),
            *_from_files("publish.secret_file", parts_of(publish.secret_file), "the secret"),
        ]
        if publish.signature == "standard":
            secrets = [_unpacked(secret) for secret in secrets]
        return Credentials(tuple(secrets), sent_token(section, name))

    return _watched([*parts_of(publish.secret_file), section.token_file], read)


def sent_token(section: PublishSection | ClientSection, name: str) -> str:
    """The token that a client gets with a request, or "". `name`: of the section.

    Raises `Failure` if it is named and not there.
    """
    tokens = [
        *_from_environment(f"{name}.token_env", section.token_env, "the bearer token"),
        *_from_files(f"{name}.token_file", [section.token_file], "the bearer token"),
    ]
    return _as_header(f"{name}.token_env or {name}.token_file", tokens[0]) if tokens else ""


def listener_variables(section: AdminSection | ClientSection) -> tuple[str, ...]:
    """The environment variables with the secrets that those who ask a listener know too."""
    return (section.token_env,) if section.token_env else ()


def has_token(section: AdminSection | ClientSection) -> bool:
    """Whether a listener asks for a token."""
    return bool(section.token_env or section.token_file)


def token_of(settings: Settings, name: str) -> "WatchedFiles[str]":
    """The token that a listener asks for, or "". One in a file is read again when it changes.

    `name`: of the listener's section, "admin" or "client". Raises `Failure` if something is named and not
    there, or can't be a token.
    """
    section: AdminSection | ClientSection = getattr(settings, name)

    def read() -> str:
        found = [
            *_from_environment(f"{name}.token_env", section.token_env, "the token"),
            *_from_files(f"{name}.token_file", [section.token_file], "the token"),
        ]
        return fit_token(f"{name}.token_env or {name}.token_file", found[0]) if found else ""

    return _watched([section.token_file], read)


def auth_secret_of(nsq: NsqSection) -> "WatchedFiles[bytes]":
    """The secret of nsqd's AUTH, or b"". One in a file is read again when it changes.

    Raises `Failure` if something is named and not there.
    """

    def read() -> bytes:
        found = [
            *_from_environment("nsq.auth_secret_env", nsq.auth_secret_env, "the secret"),
            *_from_files("nsq.auth_secret_file", [nsq.auth_secret_file], "the secret"),
        ]
        return found[0] if found else b""

    return _watched([nsq.auth_secret_file], read)


def _watched(paths: list[str], read: Callable[[], Value]) -> "WatchedFiles[Value]":
    from ..system.watched_files import WatchedFiles  # here: most commands read no secret, and need no log

    return WatchedFiles(paths, read)


def _from_environment(key: str, names: str, what: str) -> list[bytes]:
    found = []
    for name in parts_of(names):
        value = os.environ.get(name)
        if not value:
            which = "that environment variable" if names == name else f"the environment variable {name}"
            raise Failure(f"{key} = {names!r}, but {which} is not set or is empty; expected {what} in it")
        found.append(os.fsencode(value))
    return found


def _from_files(key: str, paths: list[str], what: str) -> list[bytes]:
    found = []
    named = ",".join(paths)
    for path in filter(None, paths):
        try:
            with open_regular(path) as file:
                value = file.read(SECRET_BYTES_MAX + 1)
        except OSError as error:
            raise Failure(
                f"{key} = {named!r}: {path} can't be read ({error.strerror}); expected a file with {what}"
            ) from error
        value = value.removesuffix(b"\n").removesuffix(b"\r")
        if len(value) > SECRET_BYTES_MAX:
            raise Failure(
                f"{key} = {named!r}: {path} has more than {SECRET_BYTES_MAX} bytes; expected a file "
                f"with {what}"
            )
        if not value:
            raise Failure(f"{key} = {named!r}: {path} is empty; expected a file with {what}")
        found.append(value)
    return found


def _unpacked(secret: bytes) -> bytes:
    """A secret of Standard Webhooks. Raises `Failure`, which does not quote it."""
    packed = secret.removeprefix(BASE64_SECRET.encode())
    if packed == secret:
        return secret
    try:
        return base64.b64decode(packed, validate=True)
    except binascii.Error as error:
        raise Failure(
            f"the secret of publish.secret_env or publish.secret_file begins with {BASE64_SECRET} and is not "
            f"base64 after that ({error}); expected it as its issuer gave it"
        ) from error


def fit_token(keys: str, token: bytes) -> str:
    """A token that can't be guessed and fits into a header. Raises `Failure`, which does not quote it.

    `keys`: where it was set, for the failure.
    """
    is_printable = all(0x21 <= one <= 0x7E for one in token)
    if not (is_printable and TOKEN_CHARACTERS_MIN <= len(token) <= TOKEN_CHARACTERS_MAX):
        few = "too short" if len(token) < TOKEN_CHARACTERS_MIN else "too long"
        raise Failure(
            f"the token of {keys} is {few if is_printable else 'not one printable word'}; expected "
            f"{TOKEN_CHARACTERS_MIN} to {TOKEN_CHARACTERS_MAX} characters of ASCII without spaces, as "
            "`openssl rand -hex 32` prints them"
        )
    return token.decode()


def _as_header(keys: str, token: bytes) -> str:
    """A token that fits into a header. Raises `Failure`, which does not quote it."""
    if not all(0x21 <= one <= 0x7E for one in token):
        raise Failure(
            f"the bearer token of {keys} has a space, a line end or a character that is not ASCII; expected "
            "one word"
        )
    return token.decode()
