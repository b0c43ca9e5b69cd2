"""Finds the nsqds: the settings name them, or nsqlookupds do (GET /nodes)."""

import http.client
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ..config import Settings
from ..system.addresses import join_address
from ..system.direct_http import open_directly
from ..system.exits import Failure

TIMEOUT_S = 5.0


class _Node(Struct):
    broadcast_address: str
    tcp_port: Annotated[int, Meta(ge=1, le=65535)]


class _Nodes(Struct):
    producers: list[_Node] | None


_decoder = msgspec.json.Decoder(_Nodes)


def nsqds_of(settings: Settings) -> list[str]:
    """Return the "host:port" of every nsqd that plays come from, one or more. Raises `Failure`.

    Blocks while it asks nsqlookupds, if the settings name nsqlookupds.
    """
    lookupds = settings.nsq.lookupd_http_addresses
    return settings.nsqd_addresses or [nsqd for address in lookupds for nsqd in ask_lookupd(address)]


def ask_lookupd(address: str) -> list[str]:
    """Return the "host:port" of every nsqd, one or more, that the nsqlookupd at `address` knows.

    `address`: "host:port" or a URL. Blocks; waits at most `TIMEOUT_S` for the next bytes. Raises `Failure`.
    """
    try:
        with open_directly(nodes_url(address), TIMEOUT_S) as answer:
            nsqds = nsqds_in(answer.read(), address)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Failure(
            f"nsqlookupd {address} does not answer ({str(error).strip()}), expected GET /nodes"
        ) from error
    if not nsqds:
        raise Failure(f"nsqlookupd {address} knows no nsqd, expected one at least")
    return nsqds


def nodes_url(address: str) -> str:
    """Return the URL that an nsqlookupd lists its nsqds under. `address`: "host:port" or a URL."""
    return (address if "://" in address else f"http://{address}").rstrip("/") + "/nodes"


def nsqds_in(answer: bytes, address: str) -> list[str]:
    """Return the "host:port" of every nsqd in the body of an answer to GET /nodes.

    A body of another form raises a `Failure` that names the nsqlookupd by its `address`.
    """
    try:
        nodes = _decoder.decode(answer).producers
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(f"nsqlookupd {address}: {error}, expected a list of nsqds from GET /nodes") from error
    return [join_address(node.broadcast_address, node.tcp_port) for node in nodes or []]
