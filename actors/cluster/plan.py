"""Which nodes a cluster has, on which ports, with which arguments. No I/O.

    nsqd-i        port + 100 i for TCP, then HTTP, then HTTPS (with TLS)
    nsqlookupd-i  port + 10 + 100 i for TCP, then HTTP
    nsqadmin      port + 21 for HTTP

With the port 4150, the first of each has its usual ports.
"""

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from ..system.addresses import join_address, split_address

HOST = "127.0.0.1"
PORT = 4150
NODES_MAX = 50  # of a kind
STEP, LOOKUPD, ADMIN = 100, 10, 21
PORT_MAX = 65535 - STEP * NODES_MAX  # of the first port
NSQD, NSQLOOKUPD, NSQADMIN = PROGRAMS = ("nsqd", "nsqlookupd", "nsqadmin")
# What the cluster sets itself.
OWN_FLAGS = {
    "tcp-address": "see --port",
    "http-address": "see --port",
    "https-address": "see --port and --tls",
    "data-path": "see --data-dir",
}


class Flag(Struct, frozen=True):
    """A flag that all nodes of a program get."""

    program: str
    name: str
    value: str


class Certificates(Struct, frozen=True):
    """The files of `certificates.py`, by their paths: PEM."""

    authority: str
    cert: str
    key: str
    client_cert: str
    client_key: str


class Wanted(Struct, frozen=True):
    """What was asked for. `port`: the first; 0 takes free ones. `flags`: in the order in which they came."""

    nsqds: int = 1
    nsqlookupds: int = 0
    nsqadmin: bool = False
    port: int = PORT
    tls: bool = False
    flags: tuple[Flag, ...] = ()


class Node(Struct, frozen=True):
    """One program with its arguments. An address is "" if the program has none of this kind."""

    name: str
    program: str
    tcp_address: str = ""
    http_address: str = ""
    https_address: str = ""
    arguments: tuple[str, ...] = ()

    @property
    def addresses(self) -> list[tuple[str, str]]:
        """What it listens on: the flag's name and the "host:port"."""
        named = [("tcp", self.tcp_address), ("http", self.http_address), ("https", self.https_address)]
        return [(f"{kind}-address", address) for kind, address in named if address]


class Plan(Struct, frozen=True):
    """All nodes, in the order in which they start."""

    nodes: tuple[Node, ...]
    certificates: Certificates | None = None

    def of(self, program: str) -> list[Node]:
        """The nodes of a program."""
        return [one for one in self.nodes if one.program == program]

    def node(self, name: str) -> Node:
        """The node of that name, which exists."""
        return next(one for one in self.nodes if one.name == name)


def programs_of(wanted: Wanted) -> list[str]:
    """The programs that are needed."""
    counts = (wanted.nsqds, wanted.nsqlookupds, wanted.nsqadmin)
    return [program for program, count in zip(PROGRAMS, counts, strict=True) if count]


def plan_of(
    wanted: Wanted, folder: Path, free_ports: Iterator[int], certificates: Certificates | None
) -> Plan:
    """Plan the cluster that is wanted. `folder`: for the data. `free_ports`: used if `wanted.port` is 0."""
    nodes = [_listening(wanted, NSQLOOKUPD, i, free_ports) for i in range(wanted.nsqlookupds)]
    nodes += [_listening(wanted, NSQD, i, free_ports) for i in range(wanted.nsqds)]
    if wanted.nsqadmin:
        nodes.append(_listening(wanted, NSQADMIN, 0, free_ports))
    bare = Plan(tuple(nodes), certificates)
    return Plan(tuple(_with_arguments(one, bare, wanted, folder) for one in nodes), certificates)


def _listening(wanted: Wanted, program: str, number: int, free_ports: Iterator[int]) -> Node:
    offset = {NSQD: 0, NSQLOOKUPD: LOOKUPD, NSQADMIN: ADMIN - 1}[program] + STEP * number
    ports = [wanted.port + offset + one if wanted.port else next(free_ports) for one in range(3)]
    tcp, http, https = (join_address(HOST, port) for port in ports)
    if program == NSQADMIN:
        return Node(NSQADMIN, program, http_address=http)
    secured = wanted.tls and program == NSQD
    return Node(f"{program}-{number}", program, tcp, http, https if secured else "")


def _with_arguments(node: Node, plan: Plan, wanted: Wanted, folder: Path) -> Node:
    words = [f"--{name}={address}" for name, address in node.addresses]
    lookupds = plan.of(NSQLOOKUPD)
    if node.program == NSQD:
        words += [f"--broadcast-address={HOST}", f"--data-path={folder / node.name}"]
        words.append(f"--node-id={plan.of(NSQD).index(node)}")  # else all make the same message ids
        words += [f"--lookupd-tcp-address={one.tcp_address}" for one in lookupds]
        words += _tls_of_nsqd(plan.certificates)
    elif node.program == NSQLOOKUPD:
        words.append(f"--broadcast-address={HOST}")
    else:
        words += [f"--lookupd-http-address={one.http_address}" for one in lookupds]
        if not lookupds:
            words += [f"--nsqd-http-address={one.http_address}" for one in plan.of(NSQD)]
    # Go takes the last of several flags of one name, so what the user sets holds.
    words += [f"--{one.name}={one.value}" for one in wanted.flags if one.program == node.program]
    return Node(
        node.name, node.program, node.tcp_address, node.http_address, node.https_address, tuple(words)
    )


def _tls_of_nsqd(files: Certificates | None) -> list[str]:
    if files is None:
        return []
    return [
        f"--tls-cert={files.cert}",
        f"--tls-key={files.key}",
        f"--tls-root-ca-file={files.authority}",
        "--tls-required=tcp-https",  # plain HTTP is still answered: nsqadmin needs it
    ]


def ports_of(plan: Plan) -> list[tuple[Node, str, int]]:
    """Each port that the cluster listens on: whose it is, the flag's name, the port."""
    return [(one, flag, split_address(address)[1]) for one in plan.nodes for flag, address in one.addresses]
