"""Where plays come from: what a source offers (`source.py`), and the fast reader of nsqd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config import Settings

if TYPE_CHECKING:  # the supervisor imports `nsqd_http.py`, and needs no numpy
    from .source import Listener, Source


def open_source(settings: Settings, listener: Listener) -> Source:
    """Open the source that the settings ask for. It connects, and calls the listener."""
    from .nsqd import BatchReader  # here, because commands import `lookup.py` and need no pynsq

    nsq = settings.nsq
    return BatchReader(
        topic=nsq.topic,
        channel=nsq.channel,
        max_in_flight=nsq.max_in_flight,
        msg_timeout_s=nsq.msg_timeout_s,
        nsqd_tcp_addresses=settings.nsqd_addresses,
        lookupd_http_addresses=list(nsq.lookupd_http_addresses),
        listener=listener,
        # The embedded nsqd keeps its message ids when its port changes, so its name has no port.
        name="embedded" if settings.embedded else "",
    )
