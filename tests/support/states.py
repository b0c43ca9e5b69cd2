"""States of a service, for tests of commands that work on one."""

from pathlib import Path

from actors.store.folder import claim


def new_state(path: Path) -> Path:
    """Make the state of a service that has counted nothing, in a folder "state" of `path`."""
    folder = path / "state"
    folder.mkdir()
    claim(str(folder), 2)
    return folder
