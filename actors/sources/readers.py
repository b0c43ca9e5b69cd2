"""Who reads a channel: which connections are ours, and which are those of others.

Two services on one channel each get a part of the plays, and publish wrong totals. So each tells nsqd a
client id that is made of its state's id, and nsqd's /stats shows the ids of all who read the channel. All
connections of one state are one service: a killed consumer's old one may still be there for some seconds.
"""

from typing import Annotated

from msgspec import Meta, Struct

from ..system.host_name import host_name
from ..system.state_id import read_state_id

NAMES_MAX = 5
_TEXT_MAX = 100  # characters of what a client says of itself


class Reader(Struct, frozen=True):
    """A consumer of a channel, as /stats has it. `remote_address`: where it connects from."""

    client_id: str = ""
    hostname: str = ""
    remote_address: str = ""
    user_agent: str = ""
    ready_count: Annotated[int, Meta(ge=0)] = 0

    def __str__(self) -> str:
        return f"{self.remote_address} ({self.hostname}, {self.user_agent})"[:_TEXT_MAX]


def client_id_of(state_dir: str) -> str:
    """Return the client id of the service on a state folder; "" while nothing was ever counted there."""
    state = read_state_id(state_dir)
    return f"playtally-{state}" if state else ""


def others_of(readers: list[Reader], client_id: str) -> tuple[Reader, ...]:
    """Return the readers that are not the service with this id on this machine."""
    here = host_name()
    return tuple(
        one for one in readers if not client_id or (one.client_id, one.hostname) != (client_id, here)
    )


def named(others: list[Reader]) -> str:
    """Name readers for a person, the first of them if they are many."""
    names = [str(one) for one in others[:NAMES_MAX]]
    return ", ".join(names + [f"{len(others) - NAMES_MAX:,} more"] * (len(others) > NAMES_MAX))
