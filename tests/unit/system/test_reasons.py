"""Reasons are for people: no "<urlopen error …>", no "[Errno 2]", and never nothing."""

import socket
import ssl
import urllib.error

import pytest

from actors.system.reasons import reason_of


def from_openssl(kind, number, text):
    """An error as OpenSSL makes it: one that is made here has no `reason`."""
    error = kind(number, text)
    error.reason = None
    return error


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
            "the host's address is not known (Name or service not known)",
        ),
        (TimeoutError("timed out"), "timed out"),
        # Which of the two it is depends on what has been read when the connection ends.
        (
            from_openssl(ssl.SSLEOFError, 8, "EOF occurred in violation of protocol (_ssl.c:992)"),
            "it closed the connection in the middle of TLS",
        ),
        (
            from_openssl(ssl.SSLZeroReturnError, 6, "TLS/SSL connection has been closed (EOF) (_ssl.c:992)"),
            "it closed the connection in the middle of TLS",
        ),
        (ValueError(), "ValueError"),
    ],
)
def test_a_reason_is_in_words(error, reason):
    assert reason_of(error) == reason
