"""The batches that the client answered with a 5xx, and the key under which the same content leaves next.

Pure. A client may keep its first answer to a key, an error too (as Stripe's API does). It would repeat a 5xx
for ever. So content that was answered with a 5xx `SERVER_ERRORS_MAX` times in a row under one key leaves
under a new key: the key's number is part of what is hashed, and is stored with the batch. Any other outcome
ends the row. A batch with other content has another key anyway.
"""

from collections.abc import Iterable

from msgspec import structs

from ..triggers import Trigger
from .outbox import Batch, Entry, Stage, make_batch
from .republish import Place

SERVER_ERRORS_MAX = 5
KEPT_MAX = 64  # batches; a batch is dropped when another one carries any of its videos


def answered(service: str, batch: Batch, server_error: bool) -> Batch:
    """The batch after an attempt that failed: with one more 5xx, or under a new key.

    `service`: the id that the state began with. `server_error`: the client answered with a 5xx.
    """
    if not server_error:
        return structs.replace(batch, server_errors=0)
    if batch.server_errors + 1 < SERVER_ERRORS_MAX:
        return structs.replace(batch, server_errors=batch.server_errors + 1)
    return make_batch(service, batch.trigger, batch.entries, batch.key_number + 1, batch.place)


class NumberedKeys:
    """What has to be known of refused batches if the same content leaves again."""

    def __init__(self, service: str, stored: Iterable[Batch] = ()):
        """`stored`: batches at the stage REFUSED."""
        self._service = service
        self._by_content: dict[str, Batch] = {}
        for batch in stored:
            self._by_content[self._content_of(batch)] = batch

    def keep(self, batch: Batch) -> tuple[Batch | None, list[str]]:
        """Keep a refused batch, as `answered` returned it.

        Returns the batch to store, if anything has to be known of it, and the keys that are not needed any
        more.
        """
        if not batch.key_number and not batch.server_errors:
            return None, [batch.key]
        refused = structs.replace(batch, stage=Stage.REFUSED)
        self._by_content[self._content_of(refused)] = refused
        if len(self._by_content) <= KEPT_MAX:
            return refused, []
        return refused, [self._by_content.pop(next(iter(self._by_content))).key]

    def make(
        self, trigger: Trigger, entries: list[Entry], place: Place | None = None
    ) -> tuple[Batch, list[str]]:
        """A batch that leaves now. If the same content was refused, it goes on under that batch's key.

        Returns the batch, and the keys that are not needed any more.
        """
        batch = make_batch(self._service, trigger, entries, place=place)
        if not self._by_content:
            return batch, []
        refused = self._by_content.pop(batch.key, None)
        videos = set(batch.videos)
        others = [one for one in self._by_content.items() if not videos.isdisjoint(one[1].videos)]
        for content, _ in others:
            del self._by_content[content]
        if refused is not None:
            batch = structs.replace(refused, stage=Stage.SENDING)
        return batch, [one.key for _, one in others]

    def _content_of(self, batch: Batch) -> str:
        return make_batch(self._service, batch.trigger, batch.entries, place=batch.place).key
