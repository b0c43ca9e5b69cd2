"""The queue as a whole: its nsqds, as the settings mean them, topic, channel, who reads it, and clocks."""

import asyncio
from collections.abc import Iterable

from msgspec import Struct

from ...config import Settings
from ...core.words import counted
from ...sources.lookup import Found
from ...sources.nsqd_http import QueueStats, next_port, readers, stats, tcp_port, why_silent
from ...sources.readers import OurEnds, Reader, client_id_of, is_anothers, named, others_of
from ...sources.security import Security
from ...system import runfile
from ...system.addresses import split_address
from ...system.exits import Failure
from ...system.host_name import host_name
from .clock import SKEW_MAX_S, Skew, measure
from .finding import Finding, fails, skipped, warns, works
from .lookup import check_lookupds
from .nsqd import check_nsqd

QUEUE, TOPIC, CHANNEL, CLOCK = "queue", "topic", "channel", "clock"


class Told(Struct, frozen=True):
    """What one nsqd's HTTP tells. `readers`: None if it does not tell."""

    node: Found
    queue: QueueStats
    readers: list[Reader] | None
    skew: Skew | None


async def check_queue(settings: Settings) -> list[Finding]:
    """Look at nsqlookupds, nsqds, topic, channel and clocks."""
    try:
        security = Security(settings.nsq)
    except Failure as failure:
        return [fails(QUEUE, str(failure))]
    findings, nodes = await _nodes(settings, security)
    if not nodes:
        return findings
    greeted = await asyncio.gather(*(check_nsqd(settings, security, one.address) for one in nodes))
    places = [place.key if place else node.address for node, (_, place) in zip(nodes, greeted, strict=True)]
    once = _joined(zip(places, nodes, strict=True))
    for place, node, (finding, _) in zip(places, nodes, greeted, strict=True):
        first = once[place].address
        is_first = node.address == first
        findings.append(
            finding if is_first else works(finding.what, f"is the nsqd at {first}, and read once")
        )
    told = await asyncio.gather(*(_ask(settings, security, one) for one in once.values()))
    heard = [one for one in told if isinstance(one, Told)]
    findings += [one for one in told if isinstance(one, Finding)]
    if not heard:
        return [*findings, skipped(TOPIC, "no HTTP of an nsqd answers, so nothing more is known of it")]
    findings += [_topic(settings, heard), _channel(settings, heard)]
    return findings if settings.embedded else [*findings, *_clocks(heard)]


async def _nodes(settings: Settings, security: Security) -> tuple[list[Finding], list[Found]]:
    """The nsqds that are read: those that are configured, then those that nsqlookupds know, each once."""
    if settings.embedded:
        facts = runfile.read(settings.supervisor.state_dir)
        if facts is None or "nsqd_tcp_address" not in facts:
            return [skipped(QUEUE, "the embedded queue runs only while the service does")], []
        return [], [Found(facts["nsqd_tcp_address"], facts.get("nsqd_http_address", ""))]
    findings, discovered = await check_lookupds(settings, security)
    tcp, http = settings.nsq.nsqd_tcp_addresses, settings.nsq.nsqd_http_addresses
    named = [*map(Found, tcp, [*http, *[""] * len(tcp)]), *discovered]
    nodes = list(_joined((one.address, one) for one in named).values())
    if not nodes:
        findings.append(fails(QUEUE, "there is no nsqd, expected one at least", "see [nsq] in the config"))
    return findings, nodes


def _joined(named: Iterable[tuple[str, Found]]) -> dict[str, Found]:
    """Each once, by what it is called. The first address holds, and the first HTTP address that is known."""
    found: dict[str, Found] = {}
    for name, one in named:
        first = found.setdefault(name, one)
        if not first.http_address:
            found[name] = Found(first.address, one.http_address)
    return found


async def _ask(settings: Settings, security: Security, node: Found) -> Told | Finding | None:
    """Ask an nsqd's HTTP. None if it is not known where that is, or nothing answers there."""
    what, tls = f"nsqd {node.address} HTTP", security.nsqd_tls()
    is_set = node.http_address in settings.nsq.nsqd_http_addresses
    http = node.http_address or await next_port(node.address, tls)
    topic, channel = settings.nsq.topic, settings.nsq.channel
    told_port = await tcp_port(http, tls) if is_set else None
    all_readers = await readers(http, topic, channel, tls) if http else None
    if is_set and told_port is None:
        why = await why_silent(http, tls)
        found = f"no HTTP of an nsqd answers at {http} (nsq.nsqd_http_addresses): {why}"
        do = "expected nsqd's HTTP port, often 4151; /status asks there what waits on the queue"
        return fails(what, found, do)
    if is_set and _is_anothers(settings, node, told_port, all_readers or []):
        found = f"{http} (nsq.nsqd_http_addresses) is the HTTP of another nsqd: its TCP port is {told_port}"
        do = "name this nsqd's; until then it is not known what waits on it"
        # Ports may be mapped on the way. While the service runs, it is seen whether it reads there.
        is_sure = told_port in _ports(settings) or runfile.read(settings.supervisor.state_dir)
        return (fails if is_sure else warns)(what, found, do)
    queue = await stats(http, topic, channel, tls) if http else None
    if queue is not None and not queue.has_topic:  # nsqd leaves out a topic that has no such channel
        queue = await stats(http, topic, "", tls)
    if queue is None:
        found = "its HTTP does not answer, so nothing is known of what waits there"
        return warns(what, found, "see nsq.nsqd_http_addresses")
    skew = None if settings.embedded else await asyncio.to_thread(measure, http, tls)
    return Told(node, queue, all_readers, skew)


def _is_anothers(settings: Settings, node: Found, told_port: int | None, all_readers: list[Reader]) -> bool:
    is_our_port = told_port == split_address(node.address)[1]
    if not is_our_port and told_port in _ports(settings):
        return True
    return is_anothers(all_readers, client_id_of(settings.supervisor.state_dir), "", (), is_our_port)


def _ports(settings: Settings) -> set[int]:
    return {split_address(one)[1] for one in settings.nsq.nsqd_tcp_addresses}


def _topic(settings: Settings, heard: list[Told]) -> Finding:
    name = settings.nsq.topic
    have = [one for one in heard if one.queue.has_topic]
    if not have:
        do = "is nsq.topic right? The first message of a topic makes it"
        return warns(TOPIC, f"no nsqd has the topic {name}", do)
    waiting = sum(one.queue.topic_depth for one in have)
    found = f"{name} on {len(have)} of {counted(len(heard), 'nsqd')}, {_waits(waiting)} on it"
    if paused := [one.node.address for one in have if one.queue.topic_paused]:
        return warns(TOPIC, f"{found}; paused at {', '.join(paused)}", "unpause it: nothing comes from there")
    return works(TOPIC, found)


def _channel(settings: Settings, heard: list[Told]) -> Finding:
    name = f"{settings.nsq.channel} of topic {settings.nsq.topic}"
    have = [one for one in heard if one.queue.has_channel]
    if not have:
        return works(CHANNEL, f"no nsqd has the channel {name} yet; the first start of the service makes it")
    queues = [one.queue for one in have]
    found = (
        f"{name}: {_waits(sum(one.depth for one in queues))}, "
        f"{sum(one.in_flight for one in queues):,} in flight, "
        f"{sum(one.deferred for one in queues):,} deferred"
    )
    client_id, ours = _ours(settings)
    others = [other for one in have for other in others_of(one.readers or [], client_id, ours)]
    if others:
        do = "stop them, or set another nsq.channel: each gets a part of the plays, and totals are wrong"
        many = counted(len(others), "consumer of another", "consumers of others")
        return fails(CHANNEL, f"{found}; {many}: {named(others)}", do)
    if paused := [one.node.address for one in have if one.queue.paused]:
        return warns(
            CHANNEL, f"{found}; paused at {', '.join(paused)}", "unpause it: no plays come from there"
        )
    return works(CHANNEL, f"{found}; nobody else reads it")


def _ours(settings: Settings) -> tuple[str, OurEnds]:
    """What our connections are known by: the running service may be on another host than this command."""
    facts = runfile.read(settings.supervisor.state_dir) or {}
    hostname, consumers = str(facts.get("hostname", host_name())), int(facts.get("consumers", 1))
    return client_id_of(settings.supervisor.state_dir), OurEnds(hostname, consumers=consumers)


def _waits(messages: int) -> str:
    return counted(messages, "message waits", "messages wait")


def _clocks(heard: list[Told]) -> list[Finding]:
    told = [(one.node.address, one.skew) for one in heard if one.skew is not None]
    large = [(address, skew) for address, skew in told if skew.is_large]
    if large:
        found = "; ".join(f"the clock of nsqd {address} is {skew}" for address, skew in large)
        do = (
            f"set the clocks (NTP): deadlines count from nsqd's stamps, and over {SKEW_MAX_S:g} s is too much"
        )
        return [warns(CLOCK, found, do)]
    return [works(CLOCK, "; ".join(f"nsqd {address}: {skew}" for address, skew in told))] if told else []
