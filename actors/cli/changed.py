"""The lines of `status` about what somebody paused or set while the service runs."""

from typing import Any


def lines_of(status: dict[str, Any]) -> list[str]:
    """Return the lines; none if everything is as the settings say."""
    paused = [part for part, is_paused in status["paused"].items() if is_paused]
    values = status["set_while_running"].items()
    lines = [f"paused     {' and '.join(paused)}, until `resume` or the next start"] if paused else []
    named = ", ".join(f"{name} = {value:g}" for name, value in values)
    return [*lines, f"set        {named}, until the next start"] if named else lines
