"""How long a test waits for what must come. No promise that anything is quick is made or checked here."""

import time
from collections.abc import Callable
from typing import TypeVar

# A slow or busy machine may not fail a test, so nothing here expects to be waited for less;
# a hang is cut by pytest's own timeout, which also shows the stacks.
PATIENCE_S = 60.0

Found = TypeVar("Found")


def wait_until(condition: Callable[[], Found | None], what: str, patience_s: float = PATIENCE_S) -> Found:
    """Wait until a condition is true; what it returned. Fails with `what` it waited for."""
    end_s = time.monotonic() + patience_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end_s, f"waited {patience_s:g} s for {what}"
        time.sleep(0.01)
