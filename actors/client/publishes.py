"""Parses publishes that come over HTTP into the audit's structs, or says in one line what is wrong.

For any bytes, it returns a `Publish` or raises `MalformedPublish`, and nothing else. It does not judge
promises: it accepts a publish of 50 videos, and the audit counts that as a broken promise. Unknown keys are
ignored, so that a newer service can add some.
"""

import re
import time
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ..core.client.promises import Publish, PublishedVideo
from ..core.triggers import Trigger
from .errors import MalformedPublish

BODY_BYTES_MAX = 64 * 1024

# The largest whole number that a browser reads from JSON exactly.
PLAYS_MAX = 2**53 - 1

_GUID = r"\A[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\Z"

# A key is also sent in an HTTP header. So it must be printable ASCII, without a space at either end: HTTP
# would drop such a space.
_KEY = r"\A[!-~]([ -~]{0,198}[!-~])?\Z"

_EXPECTED = {
    "batch": "1 to 200 printable ASCII characters, no space at the ends",
    "trigger": " | ".join(f'"{trigger}"' for trigger in Trigger),
    "videos": 'a list of {"video_id", "plays", "arrived_at_ns"}',
    "video_id": 'a GUID as "8f14e45f-ceea-467f-a9d2-0c2f4b6c1d3e"',
    "plays": f"a whole number from 0 to {PLAYS_MAX}",
    "overdue": "true or false",
    "arrived_at_ns": f"nanoseconds since 1970, a whole number from 0 to {2**63 - 1}",
    "body": 'a JSON object {"batch", "trigger", "videos"}',
}


class _VideoMember(Struct, frozen=True):
    video_id: Annotated[str, Meta(pattern=_GUID)]
    plays: Annotated[int, Meta(ge=0, le=PLAYS_MAX)]
    arrived_at_ns: Annotated[int, Meta(ge=0, le=2**63 - 1)] | UnsetType = UNSET  # only in a republish
    overdue: bool = False


class _PublishBody(Struct, frozen=True):
    batch: Annotated[str, Meta(pattern=_KEY)]
    trigger: Trigger
    videos: list[_VideoMember]


_decoder = msgspec.json.Decoder(_PublishBody)


def read(headers: Mapping[str, str], body: bytes) -> tuple[Publish, int]:
    """The publish in a request, and for how many ms this client has delayed it.

    `headers`: found by their names in lower case. Raises `MalformedPublish`.
    """
    key = headers.get("idempotency-key")
    publish = parse(body, content_type=headers.get("content-type", ""), idempotency_key=key)
    held_up, sent_at = headers.get("x-playtally-held-up-ms"), headers.get("x-playtally-sent-at-ms")
    return publish, held_up_ms(held_up, sent_at, time.time_ns() // 1_000_000)


def held_up_ms(held_up: str | None, sent_at: str | None, now_ms: int) -> int:
    """For how many ms this client has delayed a publish, as the headers of its sender say.

    `held_up`: the delay until this attempt was sent. `sent_at`: when the attempt was sent, in ms since 1970.
    The client caused the time from then until now too: it was halted or slow. A missing or invalid header
    counts as 0.
    """
    before_ms, sent_ms = _number(held_up), _number(sent_at)
    return (before_ms or 0) + (max(0, now_ms - sent_ms) if sent_ms else 0)


def _number(header: str | None) -> int | None:
    if header is None or not (header.isascii() and header.isdigit() and len(header) <= 15):
        return None
    return int(header)


def parse(body: bytes, *, content_type: str, idempotency_key: str | None) -> Publish:
    """The publish in this request. Raises `MalformedPublish`, which names the field."""
    # This check also stops pages of other web sites: before such a page may send this type, its browser asks
    # this client for permission, and this client gives none.
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise MalformedPublish("Content-Type", "application/json", f"is {media_type[:80]!r}")
    publish = _decoded(body)
    if idempotency_key is not None and idempotency_key != publish.batch:
        raise MalformedPublish(
            "Idempotency-Key",
            f'the same as "batch", {publish.batch!r}',
            f"is {idempotency_key[:200]!r}",
        )
    again = publish.trigger is Trigger.REPUBLISH
    entries = []
    for place, one in enumerate(publish.videos):
        arrived_at_ns = 0 if again else one.arrived_at_ns
        if arrived_at_ns is UNSET:
            field = f"videos[{place}].arrived_at_ns"
            raise MalformedPublish(field, _EXPECTED["arrived_at_ns"], "is missing")
        entries.append(PublishedVideo(one.video_id.lower(), one.plays, arrived_at_ns, one.overdue))
    return Publish(publish.batch, publish.trigger, tuple(entries))


def _decoded(body: bytes) -> _PublishBody:
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _named(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedPublish("body", _EXPECTED["body"], f"is not JSON ({error})") from None
    except RecursionError:
        raise MalformedPublish("body", _EXPECTED["body"], "is nested too deep") from None


def _named(problem: str) -> MalformedPublish:
    """Our error for a text of msgspec's, such as "Expected `int` >= 0 - at `$.videos[0].plays`"."""
    what, _, where = problem.partition(" - at ")
    path = where.strip("`").removeprefix("$").removeprefix(".")
    missing = re.search(r"missing required field `(\w+)`", what)
    if missing:
        path = f"{path}.{missing.group(1)}" if path else missing.group(1)
    name = re.sub(r"\[[^\]]*\]", "", path).rpartition(".")[2] if path else "body"
    if path.endswith("]"):
        return MalformedPublish(path, '{"video_id", "plays", "arrived_at_ns"}', "is not an object")
    found = "is missing" if missing else "is something else"
    return MalformedPublish(path or "body", _EXPECTED[name], found)
