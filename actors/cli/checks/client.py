"""The client: whether it takes connections, and has no more than the ledgers. Nothing is published."""

import asyncio

from ...config import Settings, SinkKind, without_secrets
from ...core.total_columns import NoTotals, TotalColumns
from ...sinks import open_sink
from ...sinks.client_totals import totals_of
from ...store.client_check import check_before_start
from ...system import runfile
from ...system.exits import Failure
from ...system.reasons import reason_of
from ...tree import with_addresses
from .finding import Finding, fails, skipped, warns, works

CLIENT, TOTALS = "client", "client's totals"
TIMEOUT_S = 5.0


async def check_client(settings: Settings) -> Finding:
    """Connect to the client, or to the nsqd of `publish.nsq_topic`."""
    kind = settings.publish.sink_kind
    if kind is SinkKind.STDOUT:
        return skipped(CLIENT, 'publish.url = "": publishes go to stdout alone')
    facts = runfile.read(settings.supervisor.state_dir) or {}
    addresses = {
        key: facts[fact]
        for key, fact in (
            ("client.address", "client_address"),
            ("embedded_nsqd.tcp_address", "nsqd_tcp_address"),
        )
        if fact in facts and (key != "client.address" or settings.client.enabled)
    }
    try:
        sink = open_sink(with_addresses(settings, addresses))
    except Failure as failure:
        return fails(CLIENT, str(failure))
    if not facts and kind is SinkKind.URL and settings.client.enabled:
        return skipped(CLIENT, "the reference client runs only while the service does")
    if not facts and kind is SinkKind.NSQ_TOPIC and settings.embedded:
        return skipped(CLIENT, "the embedded queue runs only while the service does")
    try:
        await asyncio.wait_for(sink.reach(), TIMEOUT_S)
    except TimeoutError:
        why = f"no connection within {TIMEOUT_S:g} s"
    except (Failure, OSError, ValueError) as error:
        why = reason_of(error)
    else:
        return works(CLIENT, f"{sink.name} takes connections (nothing was published)")
    return fails(CLIENT, f"{sink.name}: {why}; expected your client there", "see [publish]")


async def check_totals(settings: Settings) -> list[Finding]:
    """Compare the client's totals with the ledgers as the next start will. Nothing while a service runs."""
    url, state_dir = settings.publish.totals_url, settings.supervisor.state_dir
    if not url or runfile.is_held(state_dir):
        return []
    try:
        totals = await asyncio.to_thread(totals_of, settings)
        client = without_secrets(settings.publish.url or url)
        warning = check_before_start(settings, client, totals or TotalColumns())
    except NoTotals as error:
        return [warns(TOTALS, str(error), "see publish.totals_url")]
    except (Failure, ValueError) as failure:
        return [fails(TOTALS, str(failure))]
    if warning:
        return [warns(TOTALS, warning, "nothing, if that is so")]
    return [works(TOTALS, "the client has no more plays of any video than the ledgers")]
