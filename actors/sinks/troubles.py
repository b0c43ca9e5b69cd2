"""Why the client can't be reached, in words, and which setting to look at."""

import socket
import ssl

from ..system.reasons import reason_of
from ..system.tls import is_in_the_clear

_SETTING = "publish.url"
# What OpenSSL calls what is wrong with a certificate (X509_V_ERR_…).
_NOT_YET, _EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 62, 64


def trouble(error: Exception, host: str) -> str:
    """Return why a client at `host` can't be reached, or ended a connection, and what to do."""
    if isinstance(error, UnicodeError):
        return f"{host} is no host name (an empty or a too long part); see {_SETTING}"
    if isinstance(error, socket.gaierror):
        return f"the address of {host} is not known ({error.strerror}); see {_SETTING}"
    why, what_to_do = reason_of(error), _what_to_do(error) if isinstance(error, ssl.SSLError) else ""
    return f"{why}; {what_to_do}" if what_to_do else why


def _what_to_do(error: ssl.SSLError) -> str:
    if is_in_the_clear(error):
        return f"write http:// in {_SETTING} if it has no TLS, or name its https port"
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in (_NOT_YET, _EXPIRED):
            return "it needs a new one, or this machine's clock is wrong"
        if error.verify_code in (_OTHER_HOST, _OTHER_ADDRESS):
            return f"expected in {_SETTING} a name that its certificate has"
        return "set publish.ca_file to the certificate of its authority"
    reason = error.reason or ""
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:  # its alerts about ours
        return "it wants a certificate of ours, or another: see publish.cert_file"
    if "HANDSHAKE_FAILURE" in reason:  # what older versions say of a certificate that is missing
        return "it wants a certificate of ours (publish.cert_file), or speaks older versions of TLS alone"
    return ""
