"""One nsqd by its own protocol: its version, its limits, and whether it would let us in.

It is told who we are (IDENTIFY), and asked for nothing: no topic, no channel and no message is made or taken.
"""

import asyncio
from typing import Any

import msgspec
import nsq
from msgspec import Struct

from ...config import Settings
from ...sinks import reason_of
from ...sources.offers import Offers
from ...system.addresses import split_address
from ...system.exits import Failure
from .finding import Finding, fails, warns, works

TIMEOUT_S = 5.0
FRAME_BYTES_MAX = 1024 * 1024  # far above any frame that a check receives
_NOT_NSQD = "the program there is not an nsqd; expected nsqd's TCP port, often 4150"


class Agreed(Struct, frozen=True):
    """An nsqd's answer to IDENTIFY, as far as it is looked at. Times in milliseconds."""

    version: str
    max_rdy_count: int
    msg_timeout: int = 0
    max_msg_timeout: int = 0
    auth_required: bool = False
    tls_v1: bool = False


async def check_nsqd(settings: Settings, address: str) -> Finding:
    """Say who we are, as the service does, and compare what the nsqd agrees to with our settings."""
    what = f"nsqd {address}"
    offers = Offers(settings.nsq.msg_timeout_s)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            agreed = await _agreed(address, offers)
    except TimeoutError:
        return fails(what, f"no answer within {TIMEOUT_S:g} s", "see [nsq]")
    except OSError as error:
        return fails(
            what, f"no nsqd at {address}: {reason_of(error)}; expected one", "see [nsq] in the config"
        )
    except (EOFError, ValueError, Failure) as error:
        return fails(what, str(error) or _NOT_NSQD, "see [nsq] in the config")
    told = f"answers as nsqd {agreed.version}"
    if agreed.auth_required:
        return fails(what, f"{told}, and asks for AUTH", "set nsq.auth_secret_env or nsq.auth_secret_file")
    if problems := _limits(settings, agreed, offers):
        return warns(what, f"{told}; {'; '.join(found for found, _ in problems)}", problems[0][1])
    in_flight = f"up to {agreed.max_rdy_count:,} messages in flight"
    return works(what, f"{told}, {in_flight}, message timeout {agreed.msg_timeout / 1000:g} s")


def _limits(settings: Settings, agreed: Agreed, offers: Offers) -> list[tuple[str, str]]:
    """Where the nsqd's limits are below our settings: what is found, and what to do."""
    nsq_section, found = settings.nsq, []
    if agreed.max_rdy_count < nsq_section.max_in_flight:
        text = f"it lets {agreed.max_rdy_count:,} messages be in flight, nsq.max_in_flight is "
        text += f"{nsq_section.max_in_flight:,}"
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


async def _agreed(address: str, offers: Offers) -> Agreed:
    """IDENTIFY until no value is refused. Raises `OSError`, `EOFError`, `ValueError`, `Failure`."""
    while True:
        reader, writer = await asyncio.open_connection(*split_address(address))
        try:
            identity: dict[str, Any] = {"client_id": "playtally-check", "user_agent": "playtally"}
            identity["feature_negotiation"] = True
            offers.put_into(identity)
            writer.write(nsq.protocol.MAGIC_V2 + nsq.protocol.identify(identity))
            kind, told = await _frame(reader)
            if kind == nsq.protocol.FRAME_TYPE_ERROR and offers.learn(told):
                continue
            if kind != nsq.protocol.FRAME_TYPE_RESPONSE:
                raise Failure(f"nsqd {address} refused: {told.decode(errors='replace')}")
            await _let_in(reader, writer)
            return msgspec.json.decode(told, type=Agreed)
        finally:
            writer.close()


async def _let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Raise `Failure` if nothing more is taken without TLS.

    CLS is for subscribers, so nsqd refuses it; with `-tls-required` it says so for that reason.
    """
    writer.write(b"CLS\n")
    _, told = await _frame(reader)
    if b"TLS required" in told:
        raise Failure("it takes nothing but TLS: set nsq.tls = true")


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next frame that is no heartbeat. Raises `OSError`, `EOFError`, `ValueError`."""
    while True:
        try:
            size = int.from_bytes(await reader.readexactly(4), "big")
            if not 4 <= size <= FRAME_BYTES_MAX:
                raise ValueError(_NOT_NSQD)
            kind, told = nsq.protocol.unpack_response(await reader.readexactly(size))
        except EOFError as error:
            raise ValueError("the program there closed the connection; expected an nsqd") from error
        if told != b"_heartbeat_":
            return kind, told
