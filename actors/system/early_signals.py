"""Signals that come before the service or a cluster can take them: while Python imports what is needed.

Any Python since 2.7 can read this file, and it imports nothing that is heavy. SIGTERM and SIGINT end a
service that has begun nothing yet. The others wait until the service takes them (`supervision/signals.py`).
Other commands do without: signals end them as they end any program.
"""

import os
import signal

OPTIONS_WITH_VALUE = ("--config", "--set", "--log-level")
NODE_COMMANDS = frozenset(("stop", "start", "pause", "resume", "status"))  # of a cluster that runs already


def hold(arguments):
    # type: (list[str]) -> None
    """Be ready for signals from now on, if these arguments run the service.

    The first process of a container (pid 1) gets no signal that it does not handle. So there SIGTERM ends
    other commands as Ctrl-C does.
    """
    if not hasattr(signal, "pthread_sigmask"):
        return
    if not _runs_service(arguments):
        if os.getpid() == 1 and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        return
    waiting = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
    signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    # A program that starts this one with them blocked makes sure that none is lost before this line.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))


def _runs_service(arguments):
    # type: (list[str]) -> bool
    """Whether the command runs a service, or a cluster. It is "run" if no command is named."""
    words = iter(arguments)
    for word in words:
        if word in OPTIONS_WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return word == "run" or (word == "cluster" and not NODE_COMMANDS.intersection(words))
    return True


def _end(number, frame):
    # type: (int, object) -> None
    try:
        os.write(2, b"stopped by a signal before anything was started\n")
    except OSError:  # nobody reads it
        pass
    os._exit(0)  # an import that was interrupted can't be gone on with
