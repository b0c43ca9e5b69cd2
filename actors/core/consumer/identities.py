"""Under which identities the messages of each nsqd are known, beside its addresses. Pure.

Every message id has the node id of the nsqd that made it. So a message keeps its identity when its nsqd, or
only its data folder, comes back under another address. Two nsqds may have one node id: those of one host have
it, unless -node-id is given, and those of two hosts by chance. As soon as two are seen at once, that node id
identifies nothing any more: then the node id at the host name does, or the addresses alone if the host is the
same. That holds until the service ends, because one of the two may be away for a while.
"""

from collections.abc import Collection
from enum import StrEnum

from msgspec import Struct

from ..identity import by_node, by_node_and_host, with_identities


class Kind(StrEnum):
    """What identifies the messages of an nsqd beside its addresses."""

    NODE = "node id"
    NODE_AND_HOST = "node id and host name"
    ADDRESS = "address"


class Identity(Struct, frozen=True):
    """An nsqd. `node_id`: None until it tells it or gives a message. `host`: "" if not known."""

    kind: Kind = Kind.ADDRESS
    node_id: int | None = None
    host: str = ""


class Sharing(Struct, frozen=True):
    """Connections to nsqds that have one node id, and how each is told from the others."""

    node_id: int
    kind: Kind
    connections: tuple[int, ...]


class _Nsqd(Struct):
    """`told`: its node id, if it told it; else `given`, the node ids of its messages, counts."""

    source: str
    told: int | None
    host: str
    given: dict[int, None]

    def may_make(self, node_id: int) -> bool:
        """Whether it may make messages with this node id. Those of its data folder may have another."""
        return self.told == node_id if self.told is not None else node_id in self.given

    @property
    def node_id(self) -> int | None:
        return next(reversed(self.given), None) if self.told is None else self.told


class Identities:
    """The identities of all connected nsqds."""

    def __init__(self) -> None:
        self._nsqds: dict[int, _Nsqd] = {}
        self._texts: dict[tuple[int, int], str] = {}
        self._retired: dict[str, None] = {}

    @property
    def retired(self) -> list[str]:
        """The identities that two nsqds had at once."""
        return list(self._retired)

    def retire(self, identities: Collection[str]) -> None:
        """Two nsqds had these at once, as an earlier consumer saw."""
        self._retired |= dict.fromkeys(identities)
        self._texts.clear()

    def connected(self, connection: int, source: str, node_id: int | None, host: str) -> None:
        """Add a connection. `source`: see `Listener`. `node_id`, `host`: what the nsqd tells, if it does."""
        self._nsqds[connection] = _Nsqd(source, node_id, host, {})
        if node_id is not None:
            self._compare(node_id)

    def renamed(self, connection: int, source: str) -> None:
        """The nsqd has one more name."""
        self._nsqds[connection].source = source
        self._texts.clear()

    def disconnected(self, connection: int) -> None:
        """Forget a connection."""
        self._nsqds.pop(connection, None)
        self._texts.clear()

    def names(self, connection: int) -> str:
        """The names of the nsqd and the topic, without identities."""
        return self._nsqds[connection].source

    def source(self, connection: int, node_id: int) -> str:
        """The source of messages with this node id that came on this connection."""
        return self._texts.get((connection, node_id)) or self._text(connection, node_id)

    def of(self, connection: int) -> Identity:
        """What identifies the messages that an nsqd makes now."""
        one = self._nsqds.get(connection)
        if one is None or one.node_id is None:
            return Identity(host="" if one is None else one.host)
        return Identity(self._kind(one, one.node_id), one.node_id, one.host)

    def sharing(self) -> list[Sharing]:
        """The connected nsqds that have one node id: those told apart by address, and those by host name."""
        found: dict[tuple[int, Kind], list[int]] = {}
        for connection in self._nsqds:
            own = self.of(connection)
            if own.node_id is not None and own.kind is not Kind.NODE:
                found.setdefault((own.node_id, own.kind), []).append(connection)
        return [
            Sharing(node_id, kind, tuple(sorted(several)))
            for (node_id, kind), several in found.items()
            if len(several) > 1
        ]

    def _text(self, connection: int, node_id: int) -> str:
        one = self._nsqds[connection]
        if node_id not in one.given:
            one.given[node_id] = None
            self._compare(node_id)
        identities = [by_node(node_id)]
        if one.told == node_id:
            identities.append(by_node_and_host(node_id, one.host))
        usable = [each for each in identities if each and each not in self._retired]
        text = self._texts[connection, node_id] = with_identities(one.source, usable)
        return text

    def _kind(self, one: _Nsqd, node_id: int) -> Kind:
        if by_node(node_id) not in self._retired:
            return Kind.NODE
        own = by_node_and_host(node_id, one.host) if one.told == node_id else ""
        return Kind.NODE_AND_HOST if own and own not in self._retired else Kind.ADDRESS

    def _compare(self, node_id: int) -> None:
        """Retire what two nsqds with this node id have in common."""
        self._texts.clear()
        makers = [one for one in self._nsqds.values() if one.may_make(node_id)]
        if len(makers) < 2:
            return
        self._retired[by_node(node_id)] = None
        hosts = [one.host for one in makers]
        # One whose host is not known may be on any host.
        alike = hosts if "" in hosts else [host for host in hosts if hosts.count(host) > 1]
        self._retired |= {each: None for host in alike if (each := by_node_and_host(node_id, host))}
