"""What the forkserver imports last. It ignores SIGINT and SIGTERM from here on: see `forkserver.undisturbed`.

Ctrl-C in a terminal, and many service managers, signal every process of a service. Without the forkserver,
the supervisor could start nothing more, and could not find out how its children end.
"""

import signal

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
