"""playtally's command line. `python supervisor.py` runs the service; `--help` lists the rest.

Kept cheap to import: every child process imports its main module again. All work is elsewhere.
"""

import sys

if __name__ == "__main__":
    from actors.commands import main

    sys.exit(main(sys.argv[1:]))
