"""The command `playtally` that pip installs.

Kept cheap to import: every child process imports its main module again, and with it this one.
"""

import os
import sys
from importlib.util import find_spec

from ..system import early_signals
from ..system.environment import EXIT_USAGE, require
from ..system.installation import ROOT


def main() -> int:
    """Run one command with the arguments of this process. Returns the exit code."""
    early_signals.hold(sys.argv[1:])
    require()
    expected = str(ROOT / "supervisor.py")
    spec = find_spec("supervisor")
    found = spec.origin if spec is not None and spec.origin is not None else "nothing"
    if os.path.realpath(found) != expected:
        print(
            f"playtally: `import supervisor` finds {found}, expected {expected}: install playtally into an "
            "environment of its own, without PyPI's package of that name",
            file=sys.stderr,
        )
        return EXIT_USAGE
    from .head_start import begin

    begin(sys.argv[1:])
    from .commands import end
    from .commands import main as run

    return end(run(sys.argv[1:]))
