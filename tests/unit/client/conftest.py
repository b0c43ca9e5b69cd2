"""What tests of the reference client share."""

import pytest

from tests.support.served_client import Served


@pytest.fixture
def client(tmp_path):
    with Served(tmp_path / "client") as client:
        yield client
