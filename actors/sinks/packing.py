"""Whether bodies go in gzip: the client has to ask for it, and to take what it asked for."""

import gzip
import logging

from ..core.dispatcher.attempts import About, Outcome
from ..system.logs import of_batch
from .answers import UNSUPPORTED_MEDIA_TYPE, Answer, accepts_gzip
from .delivery import Delivery

log = logging.getLogger(__name__)

GZIP_BYTES_MIN = 500  # a body below this fits into one packet as it is
OFF_S = 3600.0  # for how long gzip that was refused is not tried again


class Packing:
    """What is known of one client and gzip."""

    def __init__(self, allowed: bool, name: str):
        """`allowed`: publish.gzip. `name`: the client, for the log."""
        self._allowed = allowed
        self._name = name
        self._wanted = False
        self._taken = False  # a body in gzip, so that a refusal is about what is in it
        self._off_until_s = 0.0

    def packed(self, body: bytes, now_s: float) -> bytes | None:
        """The body in gzip; None if it goes as it is. `now_s`: the loop's time."""
        if not (self._allowed and self._wanted) or len(body) < GZIP_BYTES_MIN or now_s < self._off_until_s:
            return None
        return gzip.compress(body, mtime=0)

    def answered(
        self, answer: Answer, delivery: Delivery, *, key: str, packed: bool, now_s: float
    ) -> Delivery:
        """Learn from an answer. Returns what it means for the batch, whose key is `key`.

        `packed`: whether the body was in gzip.

        Many receivers answer 400 or 422 to gzip, as they parse a body before they look at Content-Encoding.
        So while the client has taken no gzip yet, a refusal of the content is one of gzip.
        """
        if (said := accepts_gzip(answer.headers)) is not None:
            self._wanted = said
        if not packed:
            return delivery
        if delivery.outcome is Outcome.ACCEPTED:
            self._taken = True
        unsupported = answer.status == UNSUPPORTED_MEDIA_TYPE
        if not unsupported and (self._taken or delivery.about is not About.CONTENT):
            return delivery
        self._off_until_s, self._taken = now_s + OFF_S, False
        if self._wanted:
            of_batch(log, key).warning(
                "%s asks for gzip, and refused a body in gzip (%s): publishes go as they are for an hour; "
                "publish.gzip = false leaves it off",
                self._name,
                answer.told,
            )
        return delivery._replace(about=About.MOMENT)  # the next attempt is not in gzip
