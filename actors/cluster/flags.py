"""Whether the programs take the flags that are passed on to them: asked of each program before a node starts.

Go reads all flags before it does anything, so `--version` beside a flag tells, and does nothing else.
"""

import shutil
import subprocess
from collections.abc import Iterable

from ..system.reasons import reason_of
from .plan import Flag

_TIMEOUT_S = 60
_UNKNOWN = "flag provided but not defined"


def problems_of(flags: Iterable[Flag]) -> list[str]:
    """Return what is wrong with the flags, one line each. A program that is not there is asked nothing."""
    return [problem for one in flags if (problem := _problem(one))]


def _problem(flag: Flag) -> str:
    path, given = shutil.which(flag.program), f"--flag {flag.program}:{flag.name}={flag.value}"
    if path is None:
        return ""
    try:
        ran = subprocess.run(
            [path, f"--{flag.name}={flag.value}", "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return f"{given}: {flag.program} can't be asked whether it takes this ({reason_of(error)})"
    said = (ran.stderr or ran.stdout).partition("\n")[0].strip()
    if not ran.returncode:
        return ""
    if said.startswith(_UNKNOWN):
        return (
            f"{given}: {flag.program} does not know the flag {flag.name}, expected one that "
            f"`{flag.program} --help` lists"
        )
    return f"{given}: {flag.program} does not take this ({said}): see `{flag.program} --help`"
