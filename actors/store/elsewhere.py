"""More marks of the dispatcher's store: one in the folder of each other store of the state.

If ledgers and dispatcher are put back together from an older copy, they agree. But the reference client's
store and the queue's journal lie in the same state. So the dispatcher's mark is written into their folders
too. If one of them is newer, the start is refused, whichever videos were played since.
"""

from pathlib import Path

from ..system.exits import StoreFailure
from ..system.installation import service_command
from .folder import CLIENT, QUEUE
from .mark import Mark, is_emptied, mark_path, power_cut_lost, read_mark

NAME = "dispatcher"  # of the mark, before ".mark"
FOLDERS = (CLIENT, QUEUE)


def marks_elsewhere(state_dir: str | Path) -> list[Mark]:
    """Open the marks in the folders that there are. Raises `StoreFailure`."""
    return [Mark(one) for one in places(state_dir)]


def check_elsewhere(state_dir: str | Path, store: Path, stores: int, synchronous: str) -> None:
    """Raise `StoreFailure` if a mark elsewhere says that the dispatcher's `store` had more than `stores`."""
    for place in places(state_dir):
        promised, same_boot = read_mark(place)
        lost = promised - stores
        if lost > 0 and not power_cut_lost(lost, same_boot, synchronous):
            raise StoreFailure(
                f"{store}: ends at commit {stores}, and {mark_path(place)} says that {promised} were made: "
                f"dispatcher and ledgers are an older copy, or {place.parent} is of another state. They lack "
                "plays that were finished on the queue, and totals that the client has. Nothing was changed: "
                "put the newer files back; or restore the whole state from a backup with "
                f"`{service_command()} restore DIR`; or empty {mark_path(place)} to go on without what is "
                "missing; or use another supervisor.state_dir"
            )


def is_emptied_elsewhere(state_dir: str | Path) -> bool:
    """Whether somebody emptied such a mark, to go on without what is missing."""
    return any(is_emptied(one) for one in places(state_dir))


def forget_elsewhere(state_dir: str | Path) -> None:
    """Delete these marks: the state goes back in time on purpose."""
    for place in places(state_dir):
        mark_path(place).unlink(missing_ok=True)


def places(state_dir: str | Path) -> list[Path]:
    """Where such marks are, as `read_mark` takes them."""
    return [Path(state_dir) / one / NAME for one in FOLDERS if (Path(state_dir) / one).is_dir()]
