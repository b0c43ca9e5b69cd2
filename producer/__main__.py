"""`python -m producer`, and the command `playtally-producer` that pip installs.

Any Python since 2.7 can parse this file, so a Python that is too old can say so.
"""

import os
import sys


def main():
    # type: () -> int
    """Run the producer with the arguments of this process. Returns the exit code."""
    from actors.system import early_signals

    early_signals.end_at_ctrl_c(early_signals.NOTHING_PRODUCED)
    from actors.system.environment import require

    require()
    from producer.command import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    if not __package__:  # started by its path: `python producer`
        sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    sys.exit(main())
