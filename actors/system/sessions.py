"""The session of a browser that has sent the token: a cookie with the time when it ends, signed.

    <Unix seconds of its end>.<random hex>.<hex HMAC-SHA256 of what is before it>

The key is made of the token. So nothing is kept: a session survives a restart of the listener, no crowd of
sessions fills the memory, and a new token ends them all. The token can't be read from it. Who has copied a
cookie may use it until it ends, as a browser that signs out only forgets it.

A browser sends the cookies of a host to all ports of it. So the name has the port, and the key the name: no
listener takes the cookie of another one, even if both have the same token. Pure: callers pass the time.
"""

import hashlib
import hmac
import re

LASTS_S = 12 * 3600
_FORM = re.compile(r"([0-9]{1,12})\.[0-9a-f]{32}\.[0-9a-f]{64}", re.ASCII)


def cookie_name(section: str, port: int) -> str:
    """The name of the cookie of a listener. `section`: its settings', such as "admin"."""
    return f"playtally_{section}_{port}"


def begun(token: str, name: str, now_s: float, random_hex: str) -> str:
    """The value of a cookie for a session that begins now. `random_hex`: 32 hex digits that none has had."""
    signed = f"{int(now_s) + LASTS_S}.{random_hex}"
    return f"{signed}.{_signature(token, name, signed)}"


def holds(value: str, token: str, name: str, now_s: float) -> bool:
    """Whether a cookie's value is of a session that was begun with this token and has not ended."""
    found = _FORM.fullmatch(value)
    if found is None:
        return False
    signed, _, signature = value.rpartition(".")
    is_ours = hmac.compare_digest(signature, _signature(token, name, signed))
    return is_ours and now_s < int(found[1]) <= now_s + LASTS_S


def values_of(header: str, name: str) -> list[str]:
    """All values that a Cookie header has for a name: one, as browsers send it, or none."""
    pairs = (pair.partition("=") for pair in header.split(";"))
    return [value.strip() for found, _, value in pairs if found.strip() == name]


def set_cookie(name: str, value: str, is_secure: bool, lasts_s: int = LASTS_S) -> str:
    """The Set-Cookie header. `lasts_s`: 0 deletes the cookie. `is_secure`: it is sent by https alone."""
    only = "; Secure" if is_secure else ""
    return f"{name}={value}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite=Strict{only}"


def _signature(token: str, name: str, signed: str) -> str:
    key = hmac.digest(token.encode(), f"session {name}".encode(), hashlib.sha256)
    return hmac.digest(key, signed.encode(), hashlib.sha256).hex()
