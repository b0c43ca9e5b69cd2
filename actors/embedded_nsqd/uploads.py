"""What unfinished commands and HTTP bodies hold together: bounded, and the oldest gives way. Pure."""

from typing import Protocol

from . import limits


class Upload(Protocol):
    """A connection or a request of which a part has come."""

    def give_way(self) -> None:
        """Refuse it, and forget what has come of it."""


class Uploads:
    """All of them of one nsqd. `held_bytes`: what they hold together."""

    def __init__(self) -> None:
        self.held_bytes = 0
        self._sizes: dict[Upload, int] = {}  # in the order in which they began

    def hold(self, upload: Upload, size: int) -> None:
        """Note that `upload` holds this many bytes. While all hold too many, the oldest gives way."""
        self.held_bytes += size - self._sizes.get(upload, 0)
        self._sizes[upload] = size
        while self.held_bytes > limits.UPLOADS_BYTES_MAX:
            oldest = next(iter(self._sizes))
            self.end(oldest)
            oldest.give_way()

    def end(self, upload: Upload) -> None:
        """Note that `upload` is complete, or is forgotten."""
        self.held_bytes -= self._sizes.pop(upload, 0)
