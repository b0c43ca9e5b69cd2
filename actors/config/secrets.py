"""What is secret in the settings: kept out of logs and screens, and read from the environment."""

import os

from ..system.exits import Failure
from .sections import PublishSection


def without_password(url: str) -> str:
    """A URL for people's eyes: logs and screens must not show the password in it."""
    head, at, tail = url.rpartition("@")
    return f"{head.partition('//')[0]}//…@{tail}" if at else url


def secret_of(publish: PublishSection) -> bytes | None:
    """The secret that publishes are signed with, or None. Raises `Failure` if it is named but not set."""
    if not publish.secret_env:
        return None
    secret = os.environ.get(publish.secret_env)
    if not secret:
        raise Failure(
            f"publish.secret_env = {publish.secret_env!r}, but that environment variable is not set or "
            "is empty; expected the secret in it"
        )
    return secret.encode()
