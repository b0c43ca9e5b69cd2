"""How far a store is while it loads. Who waits for it is told, and does not take it for hung."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias, TypeVar

Row = TypeVar("Row")
SayLoading: TypeAlias = Callable[[int, int, str], None]  # how many are done, of how many, and of what
TELL_ROWS = 1000


def in_silence(done: int, total: int, what: str) -> None:
    """Tell nobody."""


def told(rows: Iterable[Row], total: int, what: str, say_loading: SayLoading) -> Iterator[Row]:
    """Yield the rows, and say after every `TELL_ROWS` how many have been taken, out of about `total`."""
    for done, row in enumerate(rows):
        if done % TELL_ROWS == 0:
            say_loading(done, total, what)
        yield row
