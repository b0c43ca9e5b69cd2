"""How nsqds and nsqlookupds are spoken to: TLS, AUTH and compression, as [nsq] says; what nsqd says of it.

Files are read again when they change, and on SIGHUP. What was read last holds from the next connection on; a
connection that is open stays as it is.
"""

import json
import ssl
from typing import NamedTuple

from ..config import NsqSection, auth_secret_of
from ..system.exits import Failure
from ..system.tls import is_in_the_clear, tls_context, tls_reason
from ..system.watched_files import WatchedFiles, reload_all
from .foreign import IN_THE_CLEAR

_REFUSALS = (b"E_AUTH", b"E_UNAUTHORIZED")
_NEEDS_TLS = b"(TLS required)"
_ERROR_BYTES_SHOWN = 300


class Refused(OSError):
    """TLS or AUTH failed: there is an nsqd, and it is not used as it is."""


class Contexts(NamedTuple):
    """TLS contexts for nsqds and for nsqlookupds. Where no TLS is spoken, both are None."""

    nsqd: ssl.SSLContext | None = None
    lookupd: ssl.SSLContext | None = None


class Security:
    """What holds for every connection to an nsqd. `tls`: whether each of them uses TLS."""

    def __init__(self, nsq: NsqSection):
        """Raises `Failure` if a file or a secret can't be used."""
        self.tls = nsq.tls
        self.compression = nsq.compression
        self._contexts = contexts_of(nsq)
        self._secret = auth_secret_of(nsq)

    def nsqd_tls(self) -> ssl.SSLContext | None:
        """The newest context for an nsqd, over TCP if `tls` is set, and over https. None: no TLS anywhere."""
        return self._contexts.value().nsqd

    def lookupd_tls(self) -> ssl.SSLContext | None:
        """The newest context for an nsqlookupd over https. None: no TLS anywhere."""
        return self._contexts.value().lookupd

    def auth_secret(self) -> bytes:
        """The newest secret for AUTH; b"" without one."""
        return self._secret.value()

    def lacks(self, answer: bytes, secret: bytes | None) -> str:
        """Return what nsqd's answer to IDENTIFY lacks or asks for in vain, in words; "" if all is well."""
        agreed = agreed_in(answer)
        if self.tls and agreed.get("tls_v1") is not True:
            return (
                "it has no TLS, and nsq.tls = true: nothing more was sent to it. Start nsqd with --tls-cert "
                "and --tls-key, or set nsq.tls = false"
            )
        if agreed.get("auth_required") and not secret:
            return "it asks for AUTH: set nsq.auth_secret_env or nsq.auth_secret_file"
        return ""

    def look(self) -> None:
        """Read files again that have changed, so that the log says soon whether they can be used."""
        self._contexts.value()
        self._secret.value()

    def reload(self) -> None:
        """Read all files again now. Raises `Failure`; what was read before holds then."""
        reload_all(self._contexts, self._secret)


def is_refusal(error: bytes) -> bool:
    """Whether an error of nsqd's is about TLS or AUTH."""
    return error.startswith(_REFUSALS) or _NEEDS_TLS in error


def explained(error: bytes) -> str:
    """Return an error of nsqd's in words, and what to do about it if it is about TLS or AUTH."""
    words = error[:_ERROR_BYTES_SHOWN].decode(errors="replace")
    told = f"nsqd says {words}" if words else "nsqd says that something is wrong, and not what"
    if _NEEDS_TLS in error:
        return f"{told}: set nsq.tls = true"
    if error.startswith(_REFUSALS):
        return f"{told}: see nsq.auth_secret_env and nsq.auth_secret_file"
    return told


def tls_trouble(error: BaseException) -> str:
    """Return why TLS with nsqd failed, and what to do."""
    why = tls_reason(error)
    if is_in_the_clear(error):
        return IN_THE_CLEAR
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{why}; see nsq.tls_ca_file and nsq.tls_server_name"
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:  # nsqd's alerts about ours
        return f"{why}; it wants a certificate of ours, or another: see nsq.tls_cert_file"
    return why if isinstance(error, ssl.SSLError) else "it ended the connection when TLS was to begin"


def https_trouble(error: ssl.SSLError) -> str:
    """Return why there is no https, and what to do."""
    if is_in_the_clear(error):
        return f"{tls_reason(error)}: write http:// if it has no TLS, or name its https port"
    return tls_trouble(error)


def agreed_in(answer: bytes) -> dict[str, object]:
    """Return what nsqd answered to IDENTIFY; {} for what is no such answer."""
    try:
        agreed = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return agreed if isinstance(agreed, dict) else {}


def contexts_of(nsq: NsqSection) -> WatchedFiles[Contexts]:
    """The contexts that the settings ask for, read again when a file changes. Raises `Failure`."""
    files = (nsq.tls_ca_file, nsq.tls_cert_file, nsq.tls_key_file)

    def read() -> Contexts:
        if not nsq.uses_tls:
            return Contexts()
        return Contexts(
            tls_context("nsq.tls_", *files, verify=nsq.tls_verify, name=nsq.tls_server_name),
            tls_context("nsq.tls_", *files, verify=nsq.tls_verify),
        )

    return WatchedFiles(files, read)


def security_problems(nsq: NsqSection) -> list[str]:
    """Return what is wrong with the files and the secret that the settings name, one line each."""
    problems = []
    for read in (contexts_of, auth_secret_of):
        try:
            _ = read(nsq)
        except Failure as failure:
            problems.append(str(failure))
    return problems


PLAIN = Security(NsqSection())  # no TLS, no AUTH, no compression
