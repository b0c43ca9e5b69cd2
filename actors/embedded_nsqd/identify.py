"""IDENTIFY: what a client asks for, checked and answered as nsqd 1.3.0 does (nsqd/client_v2.go). Pure."""

from typing import Annotated, TypeAlias

import msgspec

from . import limits
from .multi import Refused

VERSION = "1.3.0"  # of the nsqd that this module copies; clients conclude its features from it


class Agreement(msgspec.Struct):
    """What one client and the server have agreed on. An interval or timeout of 0 ms means that it is off.

    `output_buffer_size` is in bytes. `sample_rate` is in %; 0 means all messages.
    """

    client_id: str
    hostname: str
    user_agent: str = ""
    heartbeat_interval_ms: int = limits.HEARTBEAT_DEFAULT_MS
    message_timeout_ms: int = limits.MESSAGE_TIMEOUT_DEFAULT_MS
    output_buffer_size: int = limits.OUTPUT_BUFFER_SIZE_DEFAULT
    output_buffer_timeout_ms: int = limits.OUTPUT_BUFFER_TIMEOUT_DEFAULT_MS
    sample_rate: int = 0


_Int: TypeAlias = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_Int32: TypeAlias = Annotated[int, msgspec.Meta(ge=-(1 << 31), le=(1 << 31) - 1)]


class _Asked(msgspec.Struct):
    """The body of an IDENTIFY, with nsqd's types. A null means the same as a missing key, as in Go."""

    client_id: str | None = None
    hostname: str | None = None
    user_agent: str | None = None
    heartbeat_interval: _Int | None = None
    output_buffer_size: _Int | None = None
    output_buffer_timeout: _Int | None = None
    feature_negotiation: bool | None = None
    tls_v1: bool | None = None
    deflate: bool | None = None
    deflate_level: _Int | None = None
    snappy: bool | None = None
    sample_rate: _Int32 | None = None
    msg_timeout: _Int | None = None


def identify(before: Agreement, body: bytes) -> tuple[Agreement, bytes]:
    """The agreement after an IDENTIFY with this body, and the body of the answer.

    Intervals, timeouts and the buffer size stay as in `before` if the client does not ask for others.
    `before` is never changed. TLS, snappy and deflate are always answered false. Raises `Refused`.
    """
    try:
        # As Go, which takes U+FFFD for what is no UTF-8: a host may have any name.
        asked = msgspec.json.decode(body.decode("utf-8", "replace"), type=_Asked | None) or _Asked()
    except (msgspec.DecodeError, RecursionError):
        raise Refused("E_BAD_BODY", "IDENTIFY failed to decode JSON body") from None
    agreed = Agreement(
        client_id=asked.client_id or "",
        hostname=asked.hostname or "",
        user_agent=asked.user_agent or "",
        heartbeat_interval_ms=_agreed(
            "heartbeat interval",
            asked.heartbeat_interval,
            before.heartbeat_interval_ms,
            limits.HEARTBEAT_MIN_MS,
            limits.HEARTBEAT_MAX_MS,
            off=0,
        ),
        output_buffer_timeout_ms=_agreed(
            "output buffer timeout",
            asked.output_buffer_timeout,
            before.output_buffer_timeout_ms,
            limits.OUTPUT_BUFFER_TIMEOUT_MIN_MS,
            limits.OUTPUT_BUFFER_TIMEOUT_MAX_MS,
            off=0,
        ),
        output_buffer_size=_agreed(
            "output buffer size",
            asked.output_buffer_size,
            before.output_buffer_size,
            limits.OUTPUT_BUFFER_SIZE_MIN,
            limits.OUTPUT_BUFFER_SIZE_MAX,
            off=1,
        ),
        sample_rate=_agreed("sample rate", asked.sample_rate, 0, 0, limits.SAMPLE_RATE_MAX),
        message_timeout_ms=_agreed(
            "msg timeout",
            asked.msg_timeout,
            before.message_timeout_ms,
            limits.MESSAGE_TIMEOUT_MIN_MS,
            limits.MESSAGE_TIMEOUT_MAX_MS,
        ),
    )
    if asked.output_buffer_size == -1:
        agreed.output_buffer_timeout_ms = 0
    if not asked.feature_negotiation:
        return agreed, b"OK"
    return agreed, msgspec.json.encode(_answer(agreed))


def _answer(agreed: Agreement) -> dict[str, object]:
    return {
        "max_rdy_count": limits.READY_COUNT_MAX,
        "version": VERSION,
        "max_msg_timeout": limits.MESSAGE_TIMEOUT_MAX_MS,
        "msg_timeout": agreed.message_timeout_ms,
        "tls_v1": False,
        "deflate": False,
        "deflate_level": limits.DEFLATE_LEVEL_MAX,
        "max_deflate_level": limits.DEFLATE_LEVEL_MAX,
        "snappy": False,
        "sample_rate": agreed.sample_rate,
        "auth_required": False,
        "output_buffer_size": agreed.output_buffer_size,
        "output_buffer_timeout": agreed.output_buffer_timeout_ms,
    }


def _agreed(what: str, asked: int | None, before: int, least: int, most: int, off: int | None = None) -> int:
    """What the client asked for, or `before` if that is nothing. `off`: what -1 stands for, None: refused."""
    if not asked:
        return before
    if asked == -1 and off is not None:
        return off
    if least <= asked <= most:
        return asked
    raise Refused("E_BAD_BODY", f"IDENTIFY {what} ({asked}) is invalid")
