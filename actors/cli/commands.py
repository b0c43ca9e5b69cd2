"""The command line: arguments to calls, results to stdout, talk to stderr, and exit codes.

Each command imports what it alone needs inside its function, so that every command starts fast.
"""

import sys

from .. import config
from ..config import ConfigError
from ..supervision.printable import indented, show_uncaught
from ..system.exits import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, Failure
from ..system.ownership import keep_private
from .parser import command_parser
from .standard_streams import OutputError, drop_output, open_standard_streams


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code. `arguments`: the words after the program's name."""
    open_standard_streams()
    sys.excepthook = show_uncaught
    keep_private()
    try:
        try:
            options = command_parser().parse_args(arguments)
            settings = config.load(options.config, options.set)
            code: int = options.command(settings, options)
            return code
        finally:  # also after `--help`, which raises SystemExit
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where a reader that is gone is no failure
    except ConfigError as error:
        print("the settings are not right:", *error.problems, sep="\n", file=sys.stderr)
        return EXIT_USAGE
    except Failure as failure:
        print(indented(*map(str, failure.args)), file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_FAILED
    except BrokenPipeError:
        drop_output()  # `totals | head -1` has read all that it wanted
        return EXIT_DONE
    except OutputError as error:
        drop_output()
        print(f"stdout can not be written: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED
