"""Each log call of the code that sends batches, or reads nsqds, hands over what the line is about.

So a line of a batch has its key, and a line of a connection its nsqd, whatever trouble makes it.
tests/end_to_end/test_log_fields.py makes much of that trouble.
"""

import ast
from pathlib import Path

import pytest

import actors

ROOT = Path(actors.__file__).parent
FILES = sorted([*(ROOT / "sinks").glob("*.py"), *(ROOT / "sources").glob("*.py"), ROOT / "consumer.py"])
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
TROUBLES = {"wrong", "over"}
# The beginnings of lines that are about no batch and no connection.
OTHERS = (
    "%s refused by %s, and tried again now and then",  # a number of videos
    "%s",  # what is said elsewhere: a shortage of publishes, the client's totals, what a cause of trouble is
    "enough publishes can be made",
    "nobody read stdout within",
    "stdout can't be written",
    "stdout is read again; ",
    "%s is gone; keeping",  # a counter
    "sending %s again to %s",
    "%s; what was read before holds",
    "more than %d troubles",
)
CAUSES = ("topic", "left out")  # of trouble with the topic, and with more nsqds than are read


def calls(path):
    """The calls that make a log line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            said_by = ast.unparse(node.func.value)
            is_log = node.func.attr in LEVELS and (said_by == "log" or said_by.startswith("of_batch("))
            if is_log or (node.func.attr in TROUBLES and said_by == "self._troubles"):
                yield node, said_by


def says_what(node, said_by):
    if said_by.startswith("of_batch(") or any(one.arg in ("extra", None, "nsqd") for one in node.keywords):
        return True
    if any(one.arg == "nsqlookupd" for one in node.keywords):
        return True
    first = node.args[0]
    text = first.value if isinstance(first, ast.Constant) else ast.unparse(first)
    return text in CAUSES or str(text).startswith(OTHERS[2:]) or text in OTHERS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_log_call_says_which_batch_or_nsqd_it_is_about(path):
    silent = [
        f"line {node.lineno}: {ast.unparse(node)}" for node, by in calls(path) if not says_what(node, by)
    ]
    assert silent == []


def test_the_calls_are_found():
    assert sum(1 for path in FILES for _ in calls(path)) > 30
