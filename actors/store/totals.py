"""The committed totals of all shards, whether or not a service runs."""

from .accounts import read_accounts
from .folder import check_complete, find
from .snapshot import open_snapshot


class TotalsReader:
    """Reads all ledgers of a state folder. Raises `StoreFailure` if one is missing or damaged."""

    def __init__(self, state_dir: str):
        self._state_dir = state_dir
        self._ledgers = find(state_dir)

    @property
    def found(self) -> bool:
        """Whether the folder has ledgers."""
        return self._ledgers is not None

    def read(self) -> list[tuple[bytes, int, int]]:
        """One row per video: video (16 bytes), total, published. Raises `StoreFailure`."""
        rows: list[tuple[bytes, int, int]] = []
        if self._ledgers is None:
            return rows
        check_complete(self._state_dir, self._ledgers)
        for shard in range(self._ledgers.shards):
            path = self._ledgers.ledger(self._state_dir, shard)
            with open_snapshot(path) as connection:
                accounts = read_accounts(path, connection)
            rows += [(video, one.total, one.published) for video, one in accounts.items()]
        return rows
