"""The pipes between the simulated actors: in order, and broken for good by the death of one end.

What a killed actor wrote before may still be read, or be cut off after any message of it; what was
written to it is lost. A new link takes the place of a broken one, read to its end or not.
"""

from collections import deque
from collections.abc import Container
from random import Random
from typing import Any

Pair = tuple[str, str]


class Link:
    """One pipe: what each end has yet to read, and which end is dead."""

    def __init__(self, ends: Pair):
        self.inboxes: dict[str, deque[Any]] = {end: deque() for end in ends}
        self.dead_end: str | None = None

    def peer_of(self, name: str) -> str:
        """The other end."""
        return next(end for end in self.inboxes if end != name)


class SimulatedLinks:
    """All links that there are."""

    def __init__(self, pairs: list[Pair]):
        self._pairs = pairs
        self._links: dict[Pair, Link] = {}

    @property
    def complete(self) -> bool:
        """Whether every pair has a link that works."""
        return all(self._works(pair) for pair in self._pairs)

    def has(self, one: str, other: str) -> bool:
        """Whether a pair has a link, as far as either has noticed."""
        return (one, other) in self._links

    def missing(self, alive: Container[str]) -> list[Pair]:
        """The pairs that live and have no link that works."""
        return [
            pair for pair in self._pairs
            if pair[0] in alive and pair[1] in alive and not self._works(pair)
        ]

    def renew(self, pair: Pair) -> None:
        """A fresh link; nothing of the old one is read any more."""
        self._links.pop(pair, None)
        self._links[pair] = Link(pair)

    def post(self, sender: str, receiver: str, message: Any) -> None:
        """Write a message; dropped where there is no link that works."""
        for pair in ((sender, receiver), (receiver, sender)):
            if self._works(pair):
                self._links[pair].inboxes[receiver].append(message)

    def some_mail(self, alive: Container[str], random: Random) -> tuple[str, str, list[Any]] | None:
        """Somebody reads: who, from whom, and some of the messages that wait, in order."""
        full = [
            (link, name) for link in self._links.values() for name, inbox in link.inboxes.items()
            if inbox and name in alive
        ]
        if not full:
            return None
        link, name = random.choice(full)
        inbox = link.inboxes[name]
        messages = [inbox.popleft() for _ in range(random.randint(1, len(inbox)))]
        return name, link.peer_of(name), messages

    def some_end(self, random: Random) -> Pair | None:
        """Somebody reads the end of a link whose other end is dead: who, and whose."""
        ended = [
            (pair, link.dead_end) for pair, link in self._links.items()
            if link.dead_end is not None and not link.inboxes[link.peer_of(link.dead_end)]
        ]
        if not ended:
            return None
        pair, dead = random.choice(ended)
        return self._links.pop(pair).peer_of(dead), dead

    def cut(self, name: str, random: Random) -> None:
        """An actor was killed."""
        for pair, link in list(self._links.items()):
            if name not in pair:
                continue
            if link.dead_end is not None:
                del self._links[pair]  # now both ends are gone
                continue
            link.dead_end = name
            link.inboxes[name].clear()
            unread = link.inboxes[link.peer_of(name)]
            for _ in range(random.randint(0, len(unread))):
                unread.pop()  # what it had not yet handed to the operating system

    def _works(self, pair: Pair) -> bool:
        return pair in self._links and self._links[pair].dead_end is None
