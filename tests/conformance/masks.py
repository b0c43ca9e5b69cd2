"""Everything that may differ between two queues without being a difference. There is no other mask.

Message ids are numbered in the order in which they come (`Talk.note`), and the stamp of a message is not
written down.
"""

import re

from tests.support.queues import QueueProcess

# Headers that one conversation compares ("the whole head of an answer") and the others leave out.
HEADERS_LEFT_OUT = ("cache-control", "date", "x-content-type-options")

# The length of what is masked. From 2 KB on, nsqd tells it in chunks.
_LENGTH = re.compile(r"content-length: \d{3,}|transfer-encoding: chunked")

_MASKS = (
    (re.compile(r'"(start_time|connect_ts)":\d+'), r'"\1":{time}'),
    (re.compile(r"start_time \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S+"), "start_time {time}"),
    (re.compile(r"uptime [\dhm]*\d*\.?\d+[mµ]?s"), "uptime {time}"),
    (re.compile(r"connected: \d+s"), "connected: {time}"),
    (re.compile(r"^(http hears \|    (?:heap|gc|next_gc)\w+ *\t)\d+$"), r"\1{figure}"),
    (re.compile(r'("(?:heap|gc|next_gc)\w*":)\d+'), r"\1{figure}"),
    (re.compile(r"nsqd v1\.3\.0 \([^)]*\)"), "nsqd v1.3.0 ({build})"),
    (re.compile(r'("remote_address":"127\.0\.0\.1):\d+"'), r'\1:{port}"'),
    (re.compile(r"(\[V2 \S*):\d+ "), r"\1:{port} "),
)


def masked(line: str, queue: QueueProcess) -> str:
    """A line of a transcript without ports, times, the process's memory, and who built the program."""
    for port, instead in ((queue.tcp_port, "{tcp_port}"), (queue.http_port, "{http_port}")):
        line = re.sub(rf'(127\.0\.0\.1:|_port":){port}\b', rf"\1{instead}", line)
    for pattern, instead in _MASKS:
        line = pattern.sub(instead, line)
    return line


def shown_headers(headers: list[tuple[str, str]], whole: bool) -> list[str]:
    """The headers as lines, by name; a header's name means the same in any case and place."""
    lines = [f"{name}: {value}" for name, value in headers if whole or name not in HEADERS_LEFT_OUT]
    return sorted("{length}" if _LENGTH.fullmatch(line) else line for line in lines)
