"""Reasons are for people: no "<urlopen error …>", no "[Errno 2]", and never nothing."""

import socket
import urllib.error

import pytest

from actors.system.reasons import reason_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            urllib.error.URLError(ConnectionRefusedError(111, "refused")),
            "nobody listens there (connection refused)",
        ),
        (FileNotFoundError(2, "No such file or directory", "/a/file"), "No such file or directory"),
        (
            urllib.error.URLError(socket.gaierror(-2, "Name or service not known")),
            "Name or service not known",
        ),
        (TimeoutError("timed out"), "timed out"),
        (ValueError(), "ValueError"),
    ],
)
def test_a_reason_is_in_words(error, reason):
    assert reason_of(error) == reason
