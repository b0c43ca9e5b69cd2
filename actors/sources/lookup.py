"""What an nsqlookupd knows: the addresses of all nsqds. Blocks while it asks, for a bounded time."""

import json
import urllib.error
import urllib.request

from ..system.exits import Failure

TIMEOUT_S = 5.0


def ask_lookupd(address: str) -> list[str]:
    """The "host:port" of each nsqd that an nsqlookupd ("host:port" or a URL) knows. Raises `Failure`."""
    url = (address if "://" in address else f"http://{address}").rstrip("/") + "/nodes"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            nodes = json.load(answer)["producers"]
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        raise Failure(f"nsqlookupd {address} does not answer ({error}), expected GET /nodes") from error
    if not nodes:
        raise Failure(f"nsqlookupd {address} knows no nsqd, expected one at least")
    return [f"{node['broadcast_address']}:{node['tcp_port']}" for node in nodes]
