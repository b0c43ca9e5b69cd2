"""TLS contexts made of files: whom we trust, and which certificate we show."""

import ssl
from typing import Any

from .exits import Failure


class _NamedContext(ssl.SSLContext):
    """A context that expects one name in each certificate, whatever address was connected to."""

    expected_name = ""

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """As `ssl.SSLContext` does it: used by tornado."""
        return super().wrap_socket(*args, **self._expecting(kwargs))

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """As `ssl.SSLContext` does it: used by asyncio."""
        return super().wrap_bio(*args, **self._expecting(kwargs))

    def _expecting(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return arguments | {"server_hostname": self.expected_name} if self.expected_name else arguments


def tls_context(
    prefix: str, ca_file: str, cert_file: str = "", key_file: str = "", *, verify: bool = True, name: str = ""
) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities or a file's, and shows our certificate, if any.

    `prefix`: what stands before "ca_file", "cert_file" and "key_file" in the names of the settings, such as
    "publish.". `verify`: False takes any certificate. `name`: expected in the certificate, in place of the
    host that was connected to. Raises `Failure`.
    """
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.expected_name = name
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an authority below another may be trusted alone
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
        else:
            context.load_default_certs()
    except OSError as error:  # ssl.SSLError is one
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise Failure(
            f"{prefix}ca_file = {ca_file!r} can't be used ({why}); expected a file of certificates in PEM"
        ) from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert_file:
        _show(context, prefix, cert_file, key_file)
    return context


# What OpenSSL calls bytes that are no TLS; which of these it is depends on its version and on the bytes.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")


def is_in_the_clear(error: BaseException) -> bool:
    """Whether the other end answered something that is no TLS."""
    return isinstance(error, ssl.SSLError) and error.reason in _NO_TLS


def tls_reason(error: BaseException) -> str:
    """Return why there is no TLS connection, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message.rstrip('.')})"
    if is_in_the_clear(error):
        return "it answered in the clear, expected TLS"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "it closed the connection in the middle of TLS"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS failed ({error.reason.replace('_', ' ').lower()})"
    return str(error) or type(error).__name__


def _show(context: ssl.SSLContext, prefix: str, cert_file: str, key_file: str) -> None:
    named = f"{prefix}cert_file = {cert_file!r}" + (f" with key_file = {key_file!r}" if key_file else "")
    try:
        # Without a password here, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert_file, key_file or None, password="")
    except OSError as error:
        why = "not a certificate and its key" if isinstance(error, ssl.SSLError) else error.strerror
        raise Failure(
            f"{named} can't be used ({why}); expected a certificate and its key in PEM without a password"
        ) from error
