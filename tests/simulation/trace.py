"""What happened in a run, one short line per event, for a person who looks for a bug."""

from typing import Any

from msgspec import Struct

from actors.core.counter.changes import LedgerChanges
from actors.core.dispatcher.outbox import Batch


class Trace:
    """The lines of one run."""

    def __init__(self) -> None:
        self._facts: list[tuple[int, str, str]] = []

    def add(self, now_ms: int, who: Any, what: Any) -> None:
        """Add an event. `what` is described at once, because it may change later."""
        kind = "" if isinstance(what, str | list) else type(what).__name__
        text = f"{kind} {describe(what)}" if kind in ("Commit", "Forget", "Finish") else describe(what)
        self._facts.append((now_ms, str(who), f"{'reads ' if isinstance(what, list) else ''}{text}"))

    def lines(self, last: int) -> list[str]:
        """The last `last` lines. Each line has the time in ms, who, and what."""
        return [f"{ms:>7} {who:<13} {what}" for ms, who, what in self._facts[-last:]]


def describe(what: Any) -> str:
    """Describe a value in few characters. Bytes are shown as their first four hex digits."""
    match what:
        case Batch():
            entries = ", ".join(f"{one.video.hex()[:4]}={one.plays}" for one in what.entries[:6])
            more = f", {len(what.entries) - 6} more" if len(what.entries) > 6 else ""
            return f"batch {what.key[:6]} {what.trigger} {what.stage}: {entries}{more}"
        case LedgerChanges():
            accounts = [
                f"{video.hex()[:4]}={account.total}/{account.published}/{account.taken}"
                for video, account in sorted(what.accounts.items(), key=lambda one: one[0])[:6]
            ]
            return f"{len(what.accounts)} accounts {' '.join(accounts)}, {len(what.seen)} chunks of ids"
        case bytes():
            return what.hex()[:4] + (f"…({len(what)})" if len(what) > 16 else "")
        case list() | tuple():
            return "[" + ", ".join(describe(one) for one in what[:4]) + ("…]" if len(what) > 4 else "]")
        case Struct() if type(what).__name__ in ("Send", "Commit", "Store", "Deliver", "Forget"):
            names = [name for name in what.__struct_fields__ if name != "totals"]
            return " ".join(describe(getattr(what, name)) for name in names)
        case Struct() if type(what).__str__ is Struct.__str__:
            values = (describe(getattr(what, name)) for name in what.__struct_fields__)
            return f"{type(what).__name__}({', '.join(values)})"
        case _:
            return str(what)
