"""How long a test waits for an event that must come. Does not check that anything is quick."""

import time
from collections.abc import Callable
from typing import TypeVar

# No test may fail because the machine is slow or busy, so every wait is at least this long. pytest's own
# timeout ends a test that hangs, and shows the stacks.
PATIENCE_S = 60.0

Found = TypeVar("Found")


def wait_until(condition: Callable[[], Found | None], what: str, patience_s: float = PATIENCE_S) -> Found:
    """Wait until `condition` returns a true value, and return that value. Fails with `what` it waited for."""
    end_s = time.monotonic() + patience_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end_s, f"waited {patience_s:g} s for {what}"
        time.sleep(0.01)
