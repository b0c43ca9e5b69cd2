"""What a source is called: the text by which a ledger knows which nsqd a message comes from. Pure.

    127.0.0.1:4150 localhost:4150 #417 #417@nsqd-0/plays

That is every name ("host:port") of the nsqd, then its identities, which begin with "#", then "/" and the
topic. Two texts with a common name are one nsqd. An identity survives a change of all names. It is a node
id, or a node id at a host name: every message id has the node id of the nsqd that made it (nsqd/guid.go), so
an identity belongs to the message, wherever it is given.
"""

import re
import sys
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from .columns import ID_BYTES

MARK = "#"
NODE_IDS = 1024  # nsqd has 10 bits for it
_NODE_SHIFT = 12  # below it, an id has the sequence
_HOST = re.compile(r"[\w.-]{1,253}", re.ASCII)
_NODE_BITS = np.uint64(int.from_bytes((NODE_IDS - 1 << _NODE_SHIFT).to_bytes(ID_BYTES, "big"), sys.byteorder))


def by_node(node_id: int) -> str:
    """The identity of an nsqd with this node id."""
    return f"{MARK}{node_id}"


def by_node_and_host(node_id: int, host: str) -> str:
    """The identity of an nsqd with this node id on this host; "" if no host can have that name."""
    return f"{MARK}{node_id}@{host}" if _HOST.fullmatch(host) else ""


def with_identities(source: str, identities: Iterable[str]) -> str:
    """A text of names and a topic, with these identities too."""
    names, _, topic = source.rpartition("/")
    return f"{' '.join((names, *identities))}/{topic}"


def names_in(source: str) -> tuple[list[str], list[str]]:
    """Divide a text: its names and its identities, each with the topic."""
    words, _, topic = source.rpartition("/")
    each = [f"{word}/{topic}" for word in words.split()]
    return [one for one in each if one[0] != MARK], [one for one in each if one[0] == MARK]


def node_id_of(id: bytes) -> int:
    """The node id in a message id of 8 bytes, or in the first of a packed column."""
    return int.from_bytes(id[:ID_BYTES], "big") >> _NODE_SHIFT & NODE_IDS - 1


def rows_by_node(ids: bytes) -> list[tuple[int, npt.NDArray[np.intp] | None]]:
    """The node ids in a packed column of message ids, each with its rows; None for all rows."""
    words = np.frombuffer(ids, np.uint64) & _NODE_BITS
    if not (words != words[0]).any():
        return [(node_id_of(ids), None)]
    divided: list[tuple[int, npt.NDArray[np.intp] | None]] = []
    for word in dict.fromkeys(words.tolist()):
        rows = np.flatnonzero(words == word)
        at = int(rows[0]) * ID_BYTES
        divided.append((node_id_of(ids[at : at + ID_BYTES]), rows))
    return divided
