"""Why something failed, in words for people: without the names that Python has for errors."""

import os
import socket
import ssl
import subprocess
import urllib.error

from .tls import tls_reason


def reason_of(error: Exception) -> str:
    """The reason why there is no connection, or why a file can't be read or written, in words."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, ssl.SSLError):
        return tls_reason(error)
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer within {error.timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there (connection refused)"
    if isinstance(error, socket.gaierror):
        return f"the host's address is not known ({error.strerror})"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # asyncio puts the call that failed into its own text
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def reason_with_path(error: OSError) -> str:
    """The reason, and the file that it is about if the error names one."""
    named = f"{error.filename}: " if isinstance(error.filename, str) else ""
    return named + reason_of(error)
