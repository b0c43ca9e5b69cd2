"""One nsqd by its own protocol: its version, its limits, and whether it would let us in.

It is told who we are (IDENTIFY), and asked for nothing: no topic, no channel and no message is made or taken.
"""

import asyncio
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ...config import Settings
from ...core.consumers import consumers_of, share_of
from ...core.words import counted
from ...sinks import reason_of
from ...sources.client import NsqdClient, NsqdError
from ...sources.connection import MSG_TIMEOUT_MS_MAX
from ...sources.offers import Offers
from ...sources.places import Place
from ...sources.readers import NUMBER_MAX
from ...sources.security import Refused, Security, explained, is_refusal
from .finding import Finding, fails, warns, works

TIMEOUT_S = 5.0


class Agreed(Struct, frozen=True):
    """An nsqd's answer to IDENTIFY, as far as it is looked at. Times in milliseconds."""

    version: str
    max_rdy_count: Annotated[int, Meta(ge=1, le=NUMBER_MAX)]
    msg_timeout: Annotated[int, Meta(ge=0, le=MSG_TIMEOUT_MS_MAX)] = 0
    max_msg_timeout: Annotated[int, Meta(ge=0, le=MSG_TIMEOUT_MS_MAX)] = 0
    auth_required: bool = False
    tls_v1: bool = False
    snappy: bool = False
    deflate: bool = False

    @property
    def secured(self) -> str:
        """What holds on the connection, in words."""
        named = {
            "TLS": self.tls_v1,
            "AUTH": self.auth_required,
            "snappy": self.snappy,
            "deflate": self.deflate,
        }
        return ", ".join(name for name, holds in named.items() if holds) or "no TLS, no AUTH"


async def check_nsqd(settings: Settings, security: Security, address: str) -> tuple[Finding, Place | None]:
    """Say who we are, as the service does, and compare what the nsqd agrees to with our settings.

    Returns what was found, and where the connection led; None without a connection.
    """
    what, do = f"nsqd {address}", "see [nsq] in the config"
    offers = Offers(settings.nsq.msg_timeout_s)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            agreed, place = await _agreed(address, offers, security, settings.embedded)
    except TimeoutError:
        return fails(what, f"no answer within {TIMEOUT_S:g} s", do), None
    except Refused as error:
        return fails(what, f"it is not used: {error}", do), None
    except OSError as error:
        return fails(what, f"no nsqd at {address}: {reason_of(error)}; expected one", do), None
    except (EOFError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        return fails(what, f"no nsqd at {address}: {error}", do), None
    return _judged(settings, what, agreed, offers), place


def _judged(settings: Settings, what: str, agreed: Agreed, offers: Offers) -> Finding:
    told = f"answers as nsqd {agreed.version} ({agreed.secured})"
    if problems := _limits(settings, agreed, offers):
        found, advice = ("; ".join(texts) for texts in zip(*problems, strict=True))
        return warns(what, f"{told}; {found}", advice)
    in_flight = f"up to {counted(agreed.max_rdy_count, 'message')} in flight"
    return works(what, f"{told}, {in_flight}, message timeout {agreed.msg_timeout / 1000:g} s")


def _limits(settings: Settings, agreed: Agreed, offers: Offers) -> list[tuple[str, str]]:
    """Where the nsqd's limits are below our settings: what is found, and what to do."""
    nsq_section, found = settings.nsq, []
    consumers = nsq_section.consumers
    if agreed.max_rdy_count < share_of(consumers_of(consumers)[0], consumers, nsq_section.max_in_flight):
        text = f"it lets {counted(agreed.max_rdy_count, 'message')} be in flight, nsq.max_in_flight is "
        text += f"{nsq_section.max_in_flight:,}"
        text += f" for {consumers} consumers, each with a connection" if consumers > 1 else ""
        found.append((text, "lower nsq.max_in_flight, or raise nsqd's --max-rdy-count"))
    ours_ms = round(nsq_section.msg_timeout_s * 1000)
    if "msg_timeout" in offers.refused or agreed.msg_timeout not in (0, ours_ms):
        text = f"it refuses nsq.msg_timeout_s = {nsq_section.msg_timeout_s:g} s, and its own "
        text += f"{agreed.msg_timeout / 1000:g} s holds"
        do = f"set nsq.msg_timeout_s to {agreed.max_msg_timeout / 1000:g} at most, or raise nsqd's "
        found.append((text, do + "--max-msg-timeout"))
    if other := [one for one in offers.refused if one != "msg_timeout"]:
        text = f"it refuses our {', '.join(other)}, and its own values hold"
        found.append((text, "nothing has to be done; nsqd's limits say which values it takes"))
    return found


async def _agreed(
    address: str, offers: Offers, security: Security, is_ours: bool
) -> tuple[Agreed, Place | None]:
    """IDENTIFY until no value is refused. Raises `OSError`, `EOFError`, `ValueError`.

    `is_ours`: whether it is the embedded queue, which needs no TLS.
    """
    while True:
        identity: dict[str, Any] = {"client_id": "playtally-check"}
        offers.put_into(identity)
        try:
            client = await NsqdClient.open(address, security, identity)
        except NsqdError as error:
            if offers.learn(error.told):
                continue
            raise
        try:
            if not is_ours:
                await _let_in(client)
            return msgspec.json.decode(client.agreed, type=Agreed), client.place()
        finally:
            client.close()


async def _let_in(client: NsqdClient) -> None:
    """Raise `Refused` if nothing more is taken without TLS.

    CLS is for subscribers, so nsqd refuses it; with `-tls-required` it says so for that reason.
    """
    client.write(b"CLS\n")
    while True:
        _, told = await client.read_frame()
        if is_refusal(told):
            raise Refused(explained(told))
        if told != b"_heartbeat_":
            return
