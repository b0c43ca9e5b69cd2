"""How nsqds and nsqlookupds are spoken to: TLS, AUTH and compression, as [nsq] says.

Files are read again when they change, and on SIGHUP. What was read last holds from the next connection on; a
connection that is open stays as it is.
"""

import ssl
from typing import NamedTuple

from ..config import NsqSection, auth_secret_of
from ..system.exits import Failure
from ..system.tls import tls_context
from ..system.watched_files import WatchedFiles


class _Contexts(NamedTuple):
    """Where no TLS is spoken, both are None."""

    nsqd: ssl.SSLContext | None = None
    lookupd: ssl.SSLContext | None = None


class Security:
    """What holds for every connection to an nsqd. `tls`: whether there is none without TLS."""

    def __init__(self, nsq: NsqSection):
        """Raises `Failure` if a file or a secret can't be used."""
        self.tls = nsq.tls
        self.compression = nsq.compression
        files = (nsq.tls_ca_file, nsq.tls_cert_file, nsq.tls_key_file)

        def read() -> _Contexts:
            if not nsq.uses_tls:
                return _Contexts()
            return _Contexts(
                tls_context("nsq.tls_", *files, verify=nsq.tls_verify, name=nsq.tls_server_name),
                tls_context("nsq.tls_", *files, verify=nsq.tls_verify),
            )

        self._contexts = WatchedFiles(files, read)
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

    def reload(self) -> None:
        """Read all files again now. Raises `Failure`; what was read before holds then."""
        problems = []
        for files in (self._contexts, self._secret):
            try:
                files.reload()
            except Failure as error:
                problems.append(str(error))
        if problems:
            raise Failure("; ".join(problems))


def security_problems(nsq: NsqSection) -> list[str]:
    """Return what is wrong with the files and the secret that the settings name, one line each."""
    try:
        _ = Security(nsq)
    except Failure as failure:
        return [str(failure)]
    return []


PLAIN = Security(NsqSection())  # no TLS, no AUTH, no compression
