"""The same conversations with nsqd 1.3.0 and with the embedded queue: each difference is in one table.

The table is in docs/embedded_queue.md. A difference without a row fails, and a row without a difference too.
"""

import difflib
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests.conformance.by_http import BY_HTTP
from tests.conformance.by_tcp import BY_TCP
from tests.conformance.conversation import TOPIC, Conversation, Talk
from tests.conformance.deliveries import DELIVERIES
from tests.conformance.table import Difference, counts, differences
from tests.support.needed import lacking
from tests.support.queues import QueueProcess, open_queue, require_nsqd

CONVERSATIONS = [*BY_TCP, *BY_HTTP, *DELIVERIES]
WAITING = [one for one in CONVERSATIONS if one.waits]
NUMBERS = {one.name: number for number, one in enumerate(CONVERSATIONS)}
DIFFERENCES = {name: row for row in differences() for name in row.conversations}
VERSION = "nsqd v1.3.0 "
# A program that is slow for a moment may say another thing. What differs always is a difference.
TIMES = 3


class Transcripts(NamedTuple):
    """What the two sides said in one conversation."""

    nsqd: list[str]
    ours: list[str]


class Stage:
    """Both queues, and the conversations that were played so far. Those that wait are played together."""

    def __init__(self, nsqd: QueueProcess, ours: QueueProcess) -> None:
        self._sides = (nsqd, ours)
        self._played: dict[str, Transcripts] = {}

    def played(self, conversation: Conversation, is_different: bool) -> Transcripts:
        """The transcripts. `is_different`: whether they are expected to differ; else it is played again."""
        together = WAITING if conversation.waits else [conversation]
        if conversation.name not in self._played:
            self._play(together)
        for _ in range(TIMES - 1):
            found = self._played[conversation.name]
            if (found.nsqd != found.ours) is is_different:
                break
            self._play([conversation])
        return self._played[conversation.name]

    def _play(self, conversations: list[Conversation]) -> None:
        with ThreadPoolExecutor(2 * len(conversations)) as pool:
            sides = [[pool.submit(_play, one, queue) for queue in self._sides] for one in conversations]
        for one, (nsqd, ours) in zip(conversations, sides, strict=True):
            self._played[one.name] = Transcripts(nsqd.result(), ours.result())


def _play(conversation: Conversation, queue: QueueProcess) -> list[str]:
    talk = Talk(queue, f"{TOPIC}{NUMBERS[conversation.name]:04}")
    try:
        conversation.play(talk)
    finally:
        talk.close()
    return talk.transcript


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Iterator[Stage]:
    program = require_nsqd()
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60).stdout
    if not version.startswith(VERSION):
        lacking(f"{program} is {version.strip()!r}, expected {VERSION!r} to compare with")
    path, address = tmp_path_factory.mktemp("conformance"), "--broadcast-address=127.0.0.1"
    with open_queue("nsqd", path) as nsqd, open_queue("embedded", path, address) as ours:
        yield Stage(nsqd, ours)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda one: one.name)
def test_a_conversation_is_the_same_as_with_nsqd_or_its_difference_is_in_the_table(stage, conversation):
    row = DIFFERENCES.get(conversation.name)
    found = stage.played(conversation, row is not None)
    if row is None:
        assert found.nsqd == found.ours, "\n".join(difflib.ndiff(found.nsqd, found.ours))
    else:
        assert found.nsqd != found.ours, f"no difference any more: take it out of the table\n{row}"
        assert _untrue(row, found) == [], "\n".join(difflib.ndiff(found.nsqd, found.ours))


def _untrue(row: Difference, found: Transcripts) -> list[str]:
    """What the row says and is not so."""
    nsqd, ours = "\n".join(found.nsqd), "\n".join(found.ours)
    wrong = [f"nsqd does not say {text!r}" for text in row.nsqd if text not in nsqd]
    wrong += [f"the embedded queue does not say {text!r}" for text in row.ours if text not in ours]
    wrong += [f"the embedded queue says {text!r}, too" for text in row.nsqd if text in ours]
    return wrong + [f"nsqd says {text!r}, too" for text in row.ours if text in nsqd]


def test_every_row_of_the_table_is_about_conversations_and_says_what_differs_and_why():
    named = Counter(name for row in differences() for name in row.conversations)
    assert [name for name, times in named.items() if times > 1 or name not in NUMBERS] == []
    assert [row for row in differences() if not (row.conversations and row.nsqd + row.ours and row.why)] == []


def test_every_conversation_has_a_name_of_its_own():
    assert len(NUMBERS) == len(CONVERSATIONS)


def test_the_document_counts_the_conversations():
    assert counts() == [len(CONVERSATIONS), len(CONVERSATIONS) - len(DIFFERENCES), len(DIFFERENCES)]
