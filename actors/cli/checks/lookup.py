"""The nsqlookupds: whether each answers, and which nsqds it knows."""

import asyncio
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from ...config import Settings, without_secrets
from ...core.words import counted
from ...sources.lookup import Found, Producer, nodes_url, producers_in, topics_of
from ...sources.nsqd_http import fetch
from ...sources.security import Security
from ...system.exits import Failure
from ...system.reasons import reason_of
from .finding import Finding, fails, warns, works

TIMEOUT_S = 5.0
ANSWER_BYTES_MAX = 8 * 1024 * 1024


class _Info(Struct):
    version: str = "?"


async def check_lookupds(settings: Settings, security: Security) -> tuple[list[Finding], list[Found]]:
    """Ask all nsqlookupds at once. Returns a finding for each, and the nsqds that may be used, each once.

    An nsqd with a tombstone for one of our topics is not used, unless another nsqlookupd knows it without.
    """
    asked = await asyncio.gather(
        *(_ask(settings, security, one) for one in settings.nsq.lookupd_http_addresses)
    )
    nodes = {node.address: node for _, found in asked for node in found}
    return [finding for finding, _ in asked], list(nodes.values())


async def _ask(settings: Settings, security: Security, address: str) -> tuple[Finding, list[Found]]:
    what = f"nsqlookupd {without_secrets(address)}"
    topic = settings.nsq.topic
    try:
        code, body = await fetch(nodes_url(address), TIMEOUT_S, ANSWER_BYTES_MAX, security.lookupd_tls())
        if code != 200:
            raise OSError(f"HTTP {code}")
        producers, left_out = producers_in(body, address)
        _, info = await fetch(_info_url(address), TIMEOUT_S, ANSWER_BYTES_MAX, security.lookupd_tls())
        version = msgspec.json.decode(info, type=_Info).version
    except (Failure, OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        expected = "expected the HTTP port of an nsqlookupd, often 4161"
        found = f"it does not answer GET /nodes ({reason_of(error)}); {expected}"
        return fails(what, found, "see nsq.lookupd_http_addresses"), []
    stones = [one for one in producers if one.is_tombstoned(topics_of(settings))]
    used = _found(one for one in producers if one not in stones)
    have = sum(topic in (one.topics or ()) for one in producers if one not in stones)
    found = (
        f"answers as nsqlookupd {version}, knows {counted(len(used), 'nsqd')}, {have} with the topic {topic}"
    )
    if stones:
        found += f"; {counted(len(stones), 'nsqd')} with a tombstone, not used: "
        found += ", ".join(one.address for one in _found(stones))
    if left_out:
        return warns(what, f"{found}; it names {left_out}", "see who registers there"), used
    if not have:
        do = "see nsq.topic; the first message of a topic makes it"
        return warns(what, found, do), used
    return works(what, found), used


def _found(producers: Iterable[Producer]) -> list[Found]:
    return [one.found for one in producers]


def _info_url(address: str) -> str:
    return "/info".join(nodes_url(address).rsplit("/nodes", 1))  # what follows is a query
