"""The head start of `run`: the forkserver begins its imports before the command line is read.

Kept cheap to import: every child process imports its main module again.
"""


def begin(arguments: list[str]) -> None:
    """Begin, if these arguments run the service and no shell asks for completions (argcomplete)."""
    import os

    from ..system import early_signals

    command, _ = early_signals.command_of(arguments)
    if command != "run" or not {"-h", "--help", "--version"}.isdisjoint(arguments):
        return
    if "_ARGCOMPLETE" in os.environ:
        return
    import gc

    from ..supervision import forkserver_ahead
    from ..system.umask import keep_private

    gc.disable()  # until the imports are over (`lifecycle.run`): nothing of them is garbage
    keep_private()  # what the forkserver starts has its umask
    # The queue and the client start first, then the dispatcher.
    preload = ["actors.first_imports", "actors.dispatcher", "actors.preload"]
    forkserver_ahead.begin(["actors.shared_imports"], preload, "playtally")
