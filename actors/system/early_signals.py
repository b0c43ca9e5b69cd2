"""Signals that come before a command can take them: while Python imports what is needed.

Any Python since 2.7 can read this file, and it imports nothing that is heavy. SIGTERM and SIGINT end a
service or a cluster that has begun nothing yet. The others wait until it takes them
(`supervision/signals.py`). Ctrl-C ends every other command without a traceback. Other signals end it as they
end any program.

An import that was interrupted can't be gone on with, and Python may drop a `KeyboardInterrupt` in the middle
of one. So the process ends at once.
"""

import os
import signal

OPTIONS_WITH_VALUE = ("--config", "--set", "--log-level")
INTERRUPTED = {
    "demo": "the demo was interrupted",
    "drill": "the drill was interrupted; nothing is proven",
}
NOTHING_PRODUCED = "error: stopped by a signal before anything was produced"
_said = [""]  # at Ctrl-C
NODE_COMMANDS = frozenset(("stop", "start", "pause", "resume", "status"))  # of a cluster that runs already


def hold(arguments):
    # type: (list[str]) -> None
    """Be ready for signals from now on, as the command in these arguments needs it.

    The first process of a container (pid 1) gets no signal that it does not handle. So there SIGTERM ends
    other commands as Ctrl-C does.
    """
    if not hasattr(signal, "pthread_sigmask"):
        return
    if not _runs_service(arguments):
        if os.getpid() == 1 and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        end_at_ctrl_c(INTERRUPTED.get(command_of(arguments)[0], ""))
        return
    waiting = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _service_end)
    signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
    # A program that starts this one with them blocked makes sure that none is lost before this line.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))


def end_at_ctrl_c(said=""):
    # type: (str) -> None
    """Until `take_ctrl_c`, Ctrl-C ends this process with code 1. `said`: a line for stderr; "" for none."""
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:  # and is not ignored, as under nohup
        _said[:] = [said]
        signal.signal(signal.SIGINT, _ctrl_c_end)


def take_ctrl_c():
    # type: () -> None
    """From now on Ctrl-C raises `KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) == _ctrl_c_end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def command_of(arguments):
    # type: (list[str]) -> tuple[str, list[str]]
    """Return the command, "run" if none is named, and the words after it."""
    words = iter(arguments)
    for word in words:
        if word in OPTIONS_WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return word, list(words)
    return "run", []


def _runs_service(arguments):
    # type: (list[str]) -> bool
    """Whether the command runs a service, or a cluster."""
    command, more = command_of(arguments)
    return command == "run" or (command == "cluster" and not NODE_COMMANDS.intersection(more))


def _service_end(number, frame):
    # type: (int, object) -> None
    _end("stopped by a signal before anything was started", 0)


def _ctrl_c_end(number, frame):
    # type: (int, object) -> None
    _end(_said[0], 1)


def _end(said, code):
    # type: (str, int) -> None
    try:
        os.write(2, (said + "\n").encode() if said else b"")
    except OSError:  # nobody reads it
        pass
    os._exit(code)
