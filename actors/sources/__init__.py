"""Where plays come from: what a source offers (`source.py`), and the fast reader of nsqd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..config import Settings
from .readers import client_id_of

if TYPE_CHECKING:  # the supervisor imports `nsqd_http.py`, and needs no numpy
    from .lookup import Found
    from .source import Listener, Source


def open_source(settings: Settings, listener: Listener, known: Sequence[Found] = ()) -> Source:
    """Open the source that the settings ask for. It connects, and calls the listener. Raises `Failure`.

    `known`: nsqds of which an earlier source knew.
    """
    from .nsqd import NsqdSource  # here, because commands import `lookup.py` and need no pynsq
    from .security import Security

    nsq = settings.nsq
    return NsqdSource(
        topic=nsq.topic,
        channel=nsq.channel,
        msg_timeout_s=nsq.msg_timeout_s,
        nsqds=list(zip(settings.nsqd_addresses, http_addresses(settings), strict=True)),
        lookupd_http_addresses=list(nsq.lookupd_http_addresses),
        known=list(known),
        listener=listener,
        security=Security(nsq),
        # The embedded nsqd keeps its message ids when its port changes, so its name has no port.
        name="embedded" if settings.embedded else "",
        client_id=client_id_of(settings.supervisor.state_dir),
        play_id=nsq.play_id,
    )


def http_addresses(settings: Settings) -> list[str]:
    """Return the HTTP address of each of `settings.nsqd_addresses`; "" for an nsqd that has none set."""
    if settings.embedded:
        return [settings.embedded_nsqd.http_address]
    given: list[str] = getattr(settings.nsq, "nsqd_http_addresses", [])
    return [*given, *[""] * len(settings.nsqd_addresses)][: len(settings.nsqd_addresses)]
