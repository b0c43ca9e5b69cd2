"""The command line: arguments to calls, results to stdout, talk to stderr, and exit codes.

Each command imports what it alone needs inside its function, so that every command starts fast.
"""

import os
import sys
from typing import NoReturn

from .. import config
from ..supervision.printable import indented, show_uncaught
from ..supervision.standard_streams import with_open_streams
from ..system import early_signals
from ..system.exits import EXIT_FAILED, EXIT_USAGE, Failure
from ..system.umask import keep_private
from .parser import command_parser


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code. `arguments`: the words after the program's name."""
    sys.excepthook = show_uncaught
    keep_private()
    return with_open_streams(lambda: _run(arguments))


def end(code: int) -> NoReturn:
    """End this process. Commands that have nothing left to do leave out that Python takes itself apart."""
    if "logging" in sys.modules:  # it has something to do at the end, and so may have what uses it
        sys.exit(code)
    sys.stderr.flush()
    os._exit(code)


def _run(arguments: list[str]) -> int:
    try:
        parser = command_parser()
        if {"_ARGCOMPLETE", "COMP_LINE"} <= os.environ.keys():  # a shell asks at Tab
            from . import completion

            completion.answer(parser)
        options = parser.parse_args(arguments)
        settings = config.load(options.config, options.set)
        early_signals.take_ctrl_c()
        code: int = options.command(settings, options)
        return code
    except SystemExit:  # before a clause that has to be imported: `--help` ends so
        raise
    except config.ConfigError as error:
        print("the settings are not right:", *error.problems, sep="\n", file=sys.stderr)
        return EXIT_USAGE
    except Failure as failure:
        print(indented(*map(str, failure.args)), file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_FAILED
