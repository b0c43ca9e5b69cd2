"""What a test does when the machine lacks a thing that the test needs."""

import os
from typing import NoReturn

import pytest


def lacking(reason: str) -> NoReturn:
    """Skip the test with this reason. With CI=true fail it, because CI must have all that the tests need."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
