"""Which parts of a table have to be written, and which changes a store still needs. Pure.

A table is kept as a journal of changes, one row for each write, and as parts of `part_rows` consecutive rows.
A part is written as a whole now and then. Then no earlier change is needed for its rows. So the part that was
changed longest ago is always the next: it decides from where on the journal is needed. A part without a
change since it was written needs nothing, however long ago that was.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Self

import numpy as np

from .columns import Int64s, Numbers, distinct

FEW = 32  # up to this many rows are looked at one by one, without numpy's calls


class StaleParts:
    """The parts that changed since they were written, that which changed longest ago first."""

    def __init__(self, part_rows: int, since: Iterable[tuple[int, int]] = ()) -> None:
        """`since`: parts that changed, with the number of the first write that changed it, oldest first."""
        self._part_rows = part_rows
        # An OrderedDict: a plain dict walks over all deleted keys to find its oldest.
        self._since = OrderedDict(since)
        # By part, whether it is in `_since`: with many videos each write changes rows of hundreds of parts.
        # The last place is of no part, and stands for all parts that have no place.
        self._is_stale = np.zeros(max(self._since, default=-1) + 2, np.bool_)
        self._is_stale[list(self._since)] = True

    def copy(self) -> Self:
        """Another one that knows the same."""
        return type(self)(self._part_rows, self._since.items())

    def changed(self, rows: "Int64s | Numbers", number: int) -> None:
        """Note that the `number`th write changes these rows. Numbers never fall."""
        if len(rows) <= FEW:
            for row in rows.tolist():
                self._add(row // self._part_rows, number)
            return
        rows = np.asarray(rows)
        shift = self._part_rows.bit_length() - 1
        power_of_two = self._part_rows == 1 << shift  # numpy divides five times as slowly as it shifts
        changed = rows >> shift if power_of_two else rows // self._part_rows
        are_stale = self._is_stale.take(changed, mode="clip")
        if not are_stale.all():  # most parts are stale already
            for part in distinct([changed[~are_stale]]).tolist():
                self._add(part, number)

    def written(self, part: int) -> None:
        """Note that a part was written, with all changes so far."""
        if self._since.pop(part, None) is not None:
            self._is_stale[part] = False

    def take(self) -> int | None:
        """The part that was changed longest ago, or None: it is written now, with all changes so far."""
        if not self._since:
            return None
        part, _ = self._since.popitem(last=False)
        self._is_stale[part] = False
        return part

    def needed_from(self, otherwise: int) -> int:
        """The number of the first write that is needed still; `otherwise` if none is."""
        return next(iter(self._since.values()), otherwise)

    def _add(self, part: int, number: int) -> None:
        if part not in self._since:
            self._since[part] = number
            if part + 1 >= len(self._is_stale):
                self._is_stale = np.append(self._is_stale, np.zeros(part + 1, np.bool_))
            self._is_stale[part] = True
