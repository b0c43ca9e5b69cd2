"""Sinks that wait as long as a slow machine needs."""

import pytest

from actors.sinks import connection, stdout
from tests.support.patience import PATIENCE_S


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A machine may be slow between a head and its body, or a line and its end: that is no sign here."""
    monkeypatch.setattr(connection, "ANSWER_BODY_PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(stdout, "STDOUT_PATIENCE_S", PATIENCE_S)
