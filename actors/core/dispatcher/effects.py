"""The effects of the dispatcher's rules, beside `Send`."""

from msgspec import Struct

from ..effects import Send
from .outbox import Batch, PublishTotals
from .refused_videos import RefusedVideo
from .republish import Republish


class Store(Struct, frozen=True):
    """Store batches durably, each at its present stage, with the totals of all publishes.

    `taken`: videos that the client refused before, and refuses no more. `over`: the keys of batches to
    delete, because every ledger has recorded them, or the client has none of them.
    """

    batches: tuple[Batch, ...]
    totals: PublishTotals
    taken: tuple[bytes, ...] = ()
    over: tuple[str, ...] = ()

    def and_then(self, later: "Store") -> "Store":
        """What both store, in one write. `later`: what is stored after this."""
        kept = (one for one in self.batches if one.key not in later.over)
        batches = (*kept, *later.batches)
        return Store(batches, later.totals, self.taken + later.taken, self.over + later.over)


class StoreRefused(Struct, frozen=True):
    """Store videos that the client refuses, with the totals of all publishes.

    `gone`: videos that are refused no more. `forget`: the key of a batch to delete with that, or "".
    """

    refused: tuple[RefusedVideo, ...]
    totals: PublishTotals
    gone: tuple[bytes, ...] = ()
    forget: str = ""


class Forget(Struct, frozen=True):
    """Delete a stored batch: the client has none of it."""

    key: str


class StoreRepublish(Struct, frozen=True):
    """Store a request to publish totals again, with how far it has got, and the totals of all publishes.

    `over`: the numbers of requests to delete. `forget`: the key of a batch to delete with that, or "".
    `done`: the request that is over because all is told; for the log.
    """

    request: Republish | None
    totals: PublishTotals
    over: tuple[int, ...] = ()
    forget: str = ""
    done: Republish | None = None


class Deliver(Struct, frozen=True):
    """Send a batch to the client. The outcome comes back as a call of `delivered`."""

    batch: Batch


Effect = Send | Store | StoreRefused | StoreRepublish | Forget | Deliver


def stored_together(effects: list[Effect]) -> list[Effect]:
    """These effects, with one write in place of several: of the batches that leave together.

    A `Store` joins an earlier one if only messages and batches leave between them. To store a batch sooner is
    safe.
    """
    if len(effects) < 2:
        return effects
    found, at = list[Effect](), -1
    for effect in effects:
        if isinstance(effect, Store):
            if at >= 0:
                earlier = found[at]
                assert isinstance(earlier, Store), "that is where the earlier one is"
                found[at] = earlier.and_then(effect)
                continue
            at = len(found)
        elif not isinstance(effect, Send | Deliver):
            at = -1
        found.append(effect)
    return found
