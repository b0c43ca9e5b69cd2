"""`python -m producer`, and the command `playtally-producer` that pip installs.

Kept readable by any Python since 2.7, so that one that is too old can say so.
"""

import os
import sys


def main():
    # type: () -> int
    """Run the producer, with the arguments of this process. The exit code."""
    from actors.system.environment import require

    require()
    from producer.command import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    if not __package__:  # by its path: `python producer`
        sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    sys.exit(main())
