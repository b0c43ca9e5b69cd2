"""Who reads a channel: which connections are ours, and which are those of others.

Two services on one channel each get a part of the plays, and publish wrong totals. So each tells nsqd a
client id that is made of its state's id, and nsqd's /stats shows the ids of all who read the channel. Two
connections with one id are two services on copies of one state, unless one of them is a killed consumer's old
one, which may still be there for some seconds.
"""

from collections.abc import Collection, Sequence
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from ..system.state_id import read_state_id

NAMES_MAX = 5
# An old connection of ours is closed by nsqd after two heartbeats without an answer (`offers.HEARTBEAT_MS`).
OLD_S = 10.0
NUMBER_MAX = 1 << 50  # of what /stats counts: no nsqd has more, and sums of such numbers fit everywhere
_TEXT_MAX = 100  # characters of what a client says of itself


class Reader(Struct, frozen=True):
    """A consumer of a channel, as /stats has it. `remote_address`: where it connects from.

    `connect_ts`: since when, in Unix seconds of nsqd's clock. `is_copy`: it has our state's id, and is
    another service.
    """

    client_id: str = ""
    hostname: str = ""
    remote_address: str = ""
    user_agent: str = ""
    ready_count: Annotated[int, Meta(ge=0, le=NUMBER_MAX)] = 0
    connect_ts: Annotated[int, Meta(ge=0, le=NUMBER_MAX)] = 0
    is_copy: bool = False

    def __str__(self) -> str:
        told = f"{self.remote_address} ({self.hostname}, {self.user_agent})"[:_TEXT_MAX]
        return f"{told}, a service on a copy of our state" if self.is_copy else told


class OurEnds(Struct, frozen=True):
    """What we know of our own connections. `hostname`: of the machine that they come from.

    `ends`: their "host:port"s, as nsqd sees them if nothing between changes them; None if nobody can say.
    `connected_s`: how long the newest one to this nsqd has lasted; None if a consumer has none.
    `consumers`: how many consumers we have; each has one connection to an nsqd.
    """

    hostname: str
    ends: frozenset[str] | None = None
    connected_s: float | None = None
    consumers: int = 1


def client_id_of(state_dir: str) -> str:
    """Return the client id of the service on a state folder; "" while nothing was ever counted there."""
    state = read_state_id(state_dir)
    return f"playtally-{state}" if state else ""


def others_of(readers: Sequence[Reader], client_id: str, ours: OurEnds) -> tuple[Reader, ...]:
    """Return the readers at one nsqd that are not the service with this id.

    Readers with our id from our machine are ours, or those of a service on a copy of our state. A consumer
    has one connection to an nsqd, and maybe an old one for `OLD_S`. One that came after ours is not an old
    one.
    """
    strangers = [one for one in readers if not client_id or one.client_id != client_id]
    alike = [one for one in readers if one not in strangers]
    copies = [one for one in alike if one.hostname != ours.hostname]
    here = sorted((one for one in alike if one not in copies), key=lambda one: one.connect_ts)
    if ours.ends is None:
        copies += here[: -ours.consumers]  # so many are ours, whichever they are
    elif ours.connected_s is not None:
        own = [one for one in here if one.remote_address in ours.ends] or here[-ours.consumers :]
        since = max((one.connect_ts for one in own), default=0)
        rest = [one for one in here if one not in own]
        copies += [one for one in rest if one.connect_ts > since or ours.connected_s >= OLD_S]
    return (*strangers, *(replace(one, is_copy=True) for one in copies))


def is_anothers(
    readers: Sequence[Reader], client_id: str, own_end: str, other_ends: Collection[str], is_our_port: bool
) -> bool:
    """Return whether the nsqd with these readers is another than the one that we are connected to.

    `own_end`: our end of that connection; `other_ends`: our ends at all other nsqds. `is_our_port`: whether
    it says that it has the TCP port that we are connected to. If not, ports may be mapped on the way.
    """
    ends = {one.remote_address for one in readers}
    if own_end in ends:
        return False
    if not ends.isdisjoint(other_ends):
        return True
    return not is_our_port and (not client_id or all(one.client_id != client_id for one in readers))


def named(others: list[Reader]) -> str:
    """Name readers for a person, the first of them if they are many."""
    names = [str(one) for one in others[:NAMES_MAX]]
    return ", ".join(names + [f"{len(others) - NAMES_MAX:,} more"] * (len(others) > NAMES_MAX))
