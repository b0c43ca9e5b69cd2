"""The headers that sign a publish: a client can tell who sent it. docs/publishing.md says how to check them.

Signed are the bytes that travel: a client can check them before it unpacks anything. With two secrets both
sign, so that one can replace the other while a client knows only one of them.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence


def signature_headers(
    form: str, secrets: Sequence[bytes], key: str, body: bytes, now_s: int
) -> dict[str, str]:
    """The headers for a body. None without a secret.

    `form`: "body", "timestamp" or "standard" (publish.signature). `key`: the batch's. `now_s`: the time of
    this attempt, Unix seconds.
    """
    if not secrets:
        return {}
    if form == "standard":  # standardwebhooks.com, "Signature scheme"
        signed = b"%b.%d.%b" % (key.encode(), now_s, body)
        signatures = (base64.b64encode(_hmac(secret, signed)).decode() for secret in secrets)
        return {
            "webhook-id": key,
            "webhook-timestamp": str(now_s),
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }
    headers = {}
    signed = body
    if form == "timestamp":
        headers["X-Playtally-Timestamp"] = str(now_s)
        signed = b"%d.%b" % (now_s, body)
    headers["X-Playtally-Signature"] = ", ".join(
        f"sha256={_hmac(secret, signed).hex()}" for secret in secrets
    )
    return headers


def _hmac(secret: bytes, signed: bytes) -> bytes:
    return hmac.digest(secret, signed, hashlib.sha256)
