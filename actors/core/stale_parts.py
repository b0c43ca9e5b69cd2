"""Which parts of a table have to be written, and which changes a store still needs. Pure.

A table is kept as a journal of changes, one row for each write, and as parts of `part_rows` consecutive rows.
A part is written as a whole now and then. Then no earlier change is needed for its rows. So the part that was
changed longest ago is always the next: it decides from where on the journal is needed. A part without a
change since it was written needs nothing, however long ago that was.
"""

from collections import OrderedDict

import numpy as np

from .columns import Int64s


class StaleParts:
    """The parts that changed since they were written, that which changed longest ago first."""

    def __init__(self, part_rows: int) -> None:
        self._part_rows = part_rows
        # An OrderedDict: a plain dict walks over all deleted keys to find its oldest.
        self._since: OrderedDict[int, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._since)

    def changed(self, rows: Int64s, number: int) -> None:
        """Note that the `number`th write changes these rows. Numbers never fall."""
        marked = np.zeros(int(rows.max()) // self._part_rows + 1 if len(rows) else 0, np.bool_)
        marked[rows // self._part_rows] = True
        for part in np.flatnonzero(marked).tolist():
            self._since.setdefault(part, number)

    def take(self) -> int | None:
        """The part that was changed longest ago, or None: it is written now, with all changes so far."""
        return self._since.popitem(last=False)[0] if self._since else None

    def needed_from(self, otherwise: int) -> int:
        """The number of the first write that is needed still; `otherwise` if none is."""
        return next(iter(self._since.values()), otherwise)
