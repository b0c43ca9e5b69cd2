"""Commands about the service as a whole: run, status, stop."""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Callable

from .. import config
from ..config import ConfigError, Settings, SinkKind, credentials_of, missing, token_of
from ..supervision.standard_streams import print_json
from ..system import runfile
from ..system.exits import EXIT_DONE, Failure


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the service until it is told to stop. Raises `ConfigError` before anything is started."""
    _check(settings, options.insecure)
    from ..service import opening

    if sys.__stdout__ is None and settings.publish.sink_kind is SinkKind.STDOUT:
        raise Failure('stdout is closed and publish.url = "": open stdout, or set a URL to publish to')
    return opening.run(settings, options.log_level, _reread_of(options))


def _reread_of(options: argparse.Namespace) -> Callable[[], Settings] | None:
    """Return what loads the settings again; None if their file is a stream, which can be read once."""
    file = config.find(options.config)
    if file is not None and config.is_stream(file):
        return None
    return lambda: config.load(file, options.set)


def _check(settings: Settings, is_insecure: bool) -> None:
    """Raise `ConfigError` if files or variables that the settings name are not there, or can't be secrets.

    And if others could use a listener without a token, unless `is_insecure`.
    """
    from ..service import exposed
    from ..sources.security import security_problems

    problems = missing(settings)
    if not problems:
        problems = security_problems(settings.nsq)
        for read in (
            lambda: credentials_of(settings.publish),
            lambda: token_of(settings, "client"),
            lambda: token_of(settings, "admin"),
        ):
            try:
                _ = read()
            except Failure as failure:
                problems.append(str(failure))
    if not is_insecure:
        problems += exposed.refusals_of(settings)
    if problems:
        raise ConfigError(problems)


def status(settings: Settings, options: argparse.Namespace) -> int:
    """Print what the service is doing."""
    from . import admin_client

    if options.watch:
        from .watch import watch

        return watch(lambda: admin_client.status(settings), lambda: admin_client.history(settings))
    status = admin_client.status(settings)
    if options.json:
        print_json(status)
        return EXIT_DONE
    from .status_page import show_status

    show_status(status)
    return EXIT_DONE


def stop(settings: Settings, options: argparse.Namespace) -> int:
    """Stop the service, and wait until it has ended."""
    from ..supervision.pids import send_signal
    from . import admin_client

    facts = admin_client.facts_of_service(settings)
    admin_client.check_signals(settings)
    # Raises `Failure` if another pid answers. If none does, as where others hold all its connections, the run
    # file is right: it is ours, and a living service holds its lock.
    with contextlib.suppress(admin_client.NoAnswer):
        admin_client.status(settings)
    found = facts["pid"]
    send_signal(found, signal.SIGTERM)
    # The service drains twice and then stops its children. Each drain, and the stop of each child, takes at
    # most shutdown_timeout_s.
    deadline_s = time.monotonic() + 8 * settings.supervisor.shutdown_timeout_s + 10
    while (runfile.read(settings.supervisor.state_dir) or {}).get("pid") == found:
        if time.monotonic() > deadline_s:
            raise Failure(f"the service (pid {facts['pid']}) still runs; see its log")
        time.sleep(0.05)
    print(f"stopped the service (pid {facts['pid']})", file=sys.stderr)
    return EXIT_DONE
