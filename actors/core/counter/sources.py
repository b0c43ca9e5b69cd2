"""Which sources a ledger takes for one, by the texts that name them (`core/identity.py`). Pure.

Two texts with a common name are one source. Two with a common identity alone stay two, and each is one of
the `others` of the other: a message that is known there is known. So nothing has to be undone if an identity
turns out to be that of two nsqds: from then on their texts lack it.
"""

from collections.abc import Callable, Collection

from ..identity import names_in


class Sources:
    """The sources of one ledger. Each is known by the first text of it."""

    def __init__(self, join: Callable[[str, str], None]):
        """`join`: called with two sources that turn out to be one: all of the first is the second's now."""
        self._join = join
        self._sources: dict[str, str] = {}  # by text
        self._names: dict[str, str] = {}  # the same by name and topic
        self._identities: dict[str, dict[str, None]] = {}  # by identity and topic: the sources that have it
        self._others: dict[str, tuple[str, ...]] = {}  # by text, as far as anybody asked

    def of(self, text: str) -> str:
        """The source that a text names."""
        known = self._sources.get(text)
        return self._add(text) if known is None else known

    def others(self, text: str) -> tuple[str, ...]:
        """The other sources that share an identity with this text."""
        others = self._others.get(text)
        if others is None:
            source = self.of(text)
            found = dict.fromkeys(one for each in names_in(text)[1] for one in self._identities[each])
            others = self._others[text] = tuple(one for one in found if one != source)
        return others

    def texts_of(self, sources: Collection[str]) -> dict[str, list[str]]:
        """The texts of these sources."""
        texts: dict[str, list[str]] = {one: [] for one in sources}
        for text, source in self._sources.items():
            if source in texts:
                texts[source].append(text)
        return texts

    def keep(self, sources: Collection[str]) -> None:
        """Forget all sources but these."""
        self._sources = {text: one for text, one in self._sources.items() if one in sources}
        self._names = {name: one for name, one in self._names.items() if one in sources}
        for identity, several in list(self._identities.items()):
            self._identities[identity] = {one: None for one in several if one in sources}
            if not self._identities[identity]:
                del self._identities[identity]
        self._others.clear()

    def _add(self, text: str) -> str:
        names, identities = names_in(text)
        same = list(dict.fromkeys(self._names[name] for name in names if name in self._names))
        source = same[0] if same else text
        self._names |= dict.fromkeys(names, source)
        self._sources[text] = source
        for identity in identities:
            self._identities.setdefault(identity, {})[source] = None
        for other in same[1:]:
            self._replace(other, source)
            self._join(other, source)
        self._others.clear()
        return source

    def _replace(self, other: str, source: str) -> None:
        for known in (self._sources, self._names):
            known.update({key: source for key, one in known.items() if one == other})
        for several in self._identities.values():
            if other in several:
                del several[other]
                several[source] = None
