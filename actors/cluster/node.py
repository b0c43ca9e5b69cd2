"""The actor that runs one node of a cluster. The node counts as started when it answers GET /ping."""

import asyncio
import http.client
import logging
import re
import shutil
import ssl
from http import HTTPStatus

import msgspec

from ..supervision.program import Program
from ..system.addresses import split_address
from .plan import Certificates, Node, Plan

log = logging.getLogger(__name__)

PING_TIMEOUT_S = 2.0
ANSWERS = (HTTPStatus.OK, HTTPStatus.FORBIDDEN)  # 403: with -tls-required=true, to all plain HTTP
# A line of an NSQ program: its name in brackets, date, time, level, a colon, the text.
_LINE = re.compile(r"\[\w+\] \d{4}/\d\d/\d\d [\d:.]+ (DEBUG|INFO|WARNING|ERROR|FATAL): (.*)")
_LEVELS = {"FATAL": logging.CRITICAL}


class NodeStats(msgspec.Struct, frozen=True):
    """What a node tells its supervisor. `pid`: the program's."""

    pid: int
    paused: bool


class NodeActor(Program[Plan]):
    """Runs the node with the name of this child."""

    def command(self) -> list[str]:
        """See `Program`."""
        node = self.options.node(self.start_args.id)
        return [shutil.which(node.program) or node.program, *node.arguments]

    async def answers(self) -> bool:
        """See `Program`."""
        node = self.options.node(self.start_args.id)
        return await asyncio.to_thread(ping, node, self.options.certificates)

    def said(self, line: str) -> None:
        """Log a line at the level that the program gives it, without the program's own name and time."""
        found = _LINE.fullmatch(line)
        level, text = (found[1], found[2]) if found else ("INFO", line)
        log.log(_LEVELS.get(level, getattr(logging, level, logging.INFO)), "%s", text)

    def stats(self) -> bytes:
        """A `NodeStats`."""
        return msgspec.json.encode(NodeStats(self.pid, self.paused))


def ping(node: Node, certificates: Certificates | None) -> bool:
    """Whether a node answers GET /ping, over https if it has an address for that. Blocks."""
    host, port = split_address(node.https_address or node.http_address)
    connection = http.client.HTTPConnection(host, port, timeout=PING_TIMEOUT_S)
    if node.https_address and certificates is not None:
        context = ssl.create_default_context(cafile=certificates.authority)
        context.load_cert_chain(certificates.client_cert, certificates.client_key)
        connection = http.client.HTTPSConnection(host, port, timeout=PING_TIMEOUT_S, context=context)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status in ANSWERS
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
