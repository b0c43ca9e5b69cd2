"""Nsqds that have gone: we read them, and now neither the settings nor an nsqlookupd name them. Pure.

An nsqd that restarts leaves nsqlookupd for a moment, and plays may wait in its files. So one that has gone
counts as unknown, until the first of these:

- it is there again, or its /stats answers: then what it says counts,
- `RESTART_S` have passed, if a look shortly before it went found nothing there for us,
- `GONE_S` have passed: an operator may have taken it away for good.

Callers pass the time, in seconds of a clock that is never set.
"""

from collections.abc import Iterable

from msgspec import Struct

from ..core.stats import NsqdStats

RESTART_S = 10.0  # longer than an nsqd takes to restart
GONE_S = 300.0  # for so long an nsqlookupd keeps an nsqd of which it hears nothing
LOOKED_S = 10.0  # a look that is older says nothing of the moment when the nsqd went


class Gone(Struct, frozen=True):
    """An nsqd that has gone. `is_unknown`: whether it may have plays for us, if it does not answer."""

    nsqd: NsqdStats
    is_unknown: bool


class _Known(Struct):
    """`held`: its messages for us at the last look, at `looked_s`. `gone_s`: since when it has gone."""

    nsqd: NsqdStats
    held: int | None = None
    looked_s: float = float("-inf")
    gone_s: float | None = None

    def is_unknown(self, now_s: float) -> bool:
        assert self.gone_s is not None
        was_empty = self.held == 0 and self.gone_s - self.looked_s <= LOOKED_S
        return not was_empty or now_s - max(self.gone_s, self.looked_s) < RESTART_S


class KnownNsqds:
    """The nsqds that the consumer knows of or knew of."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    @property
    def addresses(self) -> set[str]:
        """Their "host:port"s."""
        return set(self._known)

    def told(self, nsqds: Iterable[NsqdStats], now_s: float) -> None:
        """Note which nsqds the consumer knows of now: one or more, else it has not told yet."""
        now = list(nsqds)
        if not now:
            return
        for one in now:
            known = self._known.setdefault(one.address, _Known(one))
            known.nsqd, known.gone_s = one, None
            if one.looked_ms is not None:
                self._look(known, one.held, now_s - one.looked_ms / 1000)
        listed = {one.address for one in now}
        names = {name for one in now for name in one.names}
        for address in self._known.keys() - listed:
            known = self._known[address]
            if known.gone_s is None:
                known.gone_s = now_s
            if address in names or now_s - known.gone_s >= GONE_S:
                del self._known[address]

    def answered(self, address: str, held: int, now_s: float) -> None:
        """Note that an nsqd has said how many messages it holds for us."""
        if known := self._known.get(address):
            self._look(known, held, now_s)

    def gone(self, now_s: float) -> list[Gone]:
        """Return the nsqds that have gone, without those that have been gone for `GONE_S`."""
        found = [(one, one.gone_s) for one in self._known.values() if one.gone_s is not None]
        return [Gone(one.nsqd, one.is_unknown(now_s)) for one, gone_s in found if now_s - gone_s < GONE_S]

    def _look(self, known: _Known, held: int | None, looked_s: float) -> None:
        if looked_s >= known.looked_s:
            known.held, known.looked_s = held, looked_s
