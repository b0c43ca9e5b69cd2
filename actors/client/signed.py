"""Whether a publish is signed by someone who knows the secret. Shares no code with the sink that signs.

    body        X-Playtally-Signature: sha256=<hex HMAC-SHA256 of the body>
    timestamp   the HMAC of "<timestamp>.<body>", with X-Playtally-Timestamp: <Unix seconds>
    standard    Standard Webhooks: webhook-id, webhook-timestamp, webhook-signature: v1,<base64 HMAC-SHA256 of
                "<id>.<timestamp>.<body>">

A header may hold several signatures, and this side may know several secrets: one pair that fits is enough.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

AGE_S_MAX = 300  # a publish that was signed longer ago may have been recorded and sent again


class Signed(NamedTuple):
    """How publishes must be signed. `form`: as above. `secrets`: returns those that count now; none, and any
    publish is taken.
    """

    form: str = "body"
    secrets: Callable[[], Sequence[bytes]] = tuple

    def problem(self, body: bytes, headers: Mapping[str, str], clock: Callable[[], float] = time.time) -> str:
        """What is wrong with a publish, or "". `headers`: found by their names in lower case."""
        secrets = self.secrets()
        if not secrets:
            return ""
        prefix = b""
        if self.form != "body":
            name = "webhook-timestamp" if self.form == "standard" else "X-Playtally-Timestamp"
            stamp = headers.get(name.lower(), "")
            if not (stamp.isascii() and stamp.isdigit() and abs(clock() - int(stamp[:18])) <= AGE_S_MAX):
                return f"{name}: expected the time in Unix seconds, within {AGE_S_MAX} s of this clock"
            prefix = stamp.encode() + b"."
        if self.form == "standard":
            prefix = headers.get("webhook-id", "").encode() + b"." + prefix
            given = headers.get("webhook-signature", "").split()
            expected = [b"v1," + base64.b64encode(_hmac(secret, prefix + body)) for secret in secrets]
            wanted = 'webhook-signature: expected this publish\'s HMAC, as in "v1,<base64>"'
        else:
            given = [one.strip() for one in headers.get("x-playtally-signature", "").split(",")]
            expected = [b"sha256=" + _hmac(secret, prefix + body).hex().encode() for secret in secrets]
            wanted = 'X-Playtally-Signature: expected this publish\'s HMAC, as in "sha256=<hex>"'
        # Compared as bytes: compare_digest refuses text that is not ASCII, which a header may have.
        fits = [hmac.compare_digest(one, other.encode()) for one in expected for other in given]
        return "" if any(fits) else f"{wanted}; is the secret the same on both sides?"


def _hmac(secret: bytes, signed: bytes) -> bytes:
    return hmac.digest(secret, signed, hashlib.sha256)
