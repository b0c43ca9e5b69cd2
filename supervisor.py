"""playtally's command line. `python supervisor.py` runs the service; `--help` lists the rest.

Kept cheap to import: every child process imports its main module again. Kept readable by any Python since
2.7, so that one that is too old can say so. All work is elsewhere.
"""
# PYTHON_ARGCOMPLETE_OK: argcomplete's global completion takes `python supervisor.py` too.

import os
import sys

if __name__ == "__main__":
    folder = os.path.dirname(os.path.realpath(__file__))
    if folder not in map(os.path.realpath, sys.path):  # `python -P` leaves it out
        sys.path.insert(0, folder)
    from actors.system import early_signals

    early_signals.hold(sys.argv[1:])
    from actors.system.environment import require

    require()
    from actors.cli.head_start import begin

    begin(sys.argv[1:])
    from actors.cli.commands import end, main

    end(main(sys.argv[1:]))
