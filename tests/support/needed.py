"""What a test does when the machine lacks a thing that the test needs."""

import os
from typing import NoReturn

import pytest


def lacking(reason: str) -> NoReturn:
    """Skip the test with this reason. With CI=true fail it, because CI must have all that the tests need."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def need_root() -> None:
    """Skip the test without root, which alone can give a file to another user.

    It is skipped in CI too, which may run as another user. No installation can make up for that.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
